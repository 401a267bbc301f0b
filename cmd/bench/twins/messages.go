package twins

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// Messages reads the file that a broker has written, message for message. A message is valid until the next one is asked for.
func Messages(path string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer func() { _ = f.Close() }() // only read
		r := bufio.NewReaderSize(f, 1<<20)
		var body []byte
		for {
			n, err := binary.ReadUvarint(r)
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				if uint64(cap(body)) < n {
					body = make([]byte, n)
				}
				body = body[:n]
				_, err = io.ReadFull(r, body)
			}
			if err != nil {
				yield(nil, fmt.Errorf("read %s: %w", path, err))
				return
			}
			if !yield(body, nil) {
				return
			}
		}
	}
}
