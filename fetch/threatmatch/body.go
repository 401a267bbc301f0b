package threatmatch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// bodies reads the bodies of good answers, within a bound and into buffers that are used again.
type bodies struct {
	most int64 // bytes after decompression
	pool sync.Pool
}

// bound is what an answer may have in bytes, 0 for as many as any may, and what to do about one that has more.
type bound struct {
	bytes  int64
	remedy string
}

func (b bound) exceeded() error {
	err := fmt.Errorf("%w: more than %d bytes", ErrTooLarge, b.bytes)
	if b.remedy != "" {
		err = fmt.Errorf("%w; %s", err, b.remedy)
	}
	return err
}

// read reads a body within a bound, and tells grow, which may be nil, of its size. A body that would not fit into a buffer that is kept
// has a text of its own (see [isOwn]), else it is in buf. Of what cannot be data no more is read than is of use to a person.
func (b *bodies) read(buf *bytes.Buffer, resp *http.Response, limit bound, grow func(size int64) error) ([]byte, error) {
	if limit.bytes <= 0 {
		limit = bound{b.most, "raise CONNECTOR_MEMORY, in MiB, above that"}
	}
	most := limit.bytes
	body, done, err := decompress(resp)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := open(buf, body, limit); err != nil {
		return nil, err
	}
	if !mayBeData(buf.Bytes()) {
		_, _ = io.CopyN(buf, body, errorBody)
		return buf.Bytes(), nil
	}
	if resp.ContentLength > most {
		return nil, limit.exceeded()
	}
	if hint := min(resp.ContentLength, sizeHintMax); hint > 0 {
		buf.Grow(int(hint) + bytes.MinRead)
	}
	if grow != nil {
		body = &growing{Reader: body, size: int64(buf.Len()), grow: grow}
	}
	_, err = buf.ReadFrom(io.LimitReader(body, min(most, pooledBuffer)+1-int64(buf.Len())))
	switch text := buf.Bytes(); {
	case err != nil:
		return nil, fmt.Errorf("read answer after %d bytes: %w", len(text), err)
	case int64(len(text)) > most:
		return nil, limit.exceeded()
	case isOwn(text):
		*buf = bytes.Buffer{} // too large to be kept
		if text, err = readOwn(text, body, resp.ContentLength, most); errors.Is(err, ErrTooLarge) {
			return nil, limit.exceeded()
		}
		return text, err
	default:
		return text, nil
	}
}

// open reads the beginning of a body into an empty buffer, without the blanks before it, which may be many.
func open(buf *bytes.Buffer, body io.Reader, limit bound) error {
	for read := int64(0); read <= limit.bytes; buf.Reset() {
		n, err := io.CopyN(buf, body, min(beginning, limit.bytes+1))
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read answer after %d bytes: %w", read+n, err)
		}
		text := buf.Bytes()
		if read == 0 {
			text = bytes.TrimPrefix(text, []byte(byteOrderMark))
		}
		if text = bytes.TrimLeft(text, blanks); len(text) > 0 || err != nil {
			buf.Next(buf.Len() - len(text))
			return nil
		}
		read += n
	}
	return limit.exceeded()
}

// mayBeData says of a text without blanks before it whether more of it is of use than a person would read.
func mayBeData(text []byte) bool {
	return len(text) > 0 && (text[0] == '{' || text[0] == '[') && errorAhead(text) == nil
}

// errorAhead returns what the first member of an object says, as far as that is there, if it is an error that says something.
func errorAhead(text []byte) []byte {
	for _, token := range [...]string{"{", `"error"`, ":"} {
		if !bytes.HasPrefix(text, []byte(token)) {
			return nil
		}
		text = bytes.TrimLeft(text[len(token):], blanks)
	}
	if saysNothing(text) {
		return nil
	}
	return text
}

// saysNothing says of the value of an error, or its beginning, whether that is none.
func saysNothing(value []byte) bool {
	return len(value) == 0 || bytes.HasPrefix(value, []byte("null")) || bytes.HasPrefix(value, []byte("false")) || bytes.HasPrefix(value, []byte(`""`))
}

// readOwn reads the rest of a large body into a text of its own, as long as the text. Where nothing says how long that is (length is
// less than what is there), it comes in pieces, of which the text is made if they are not too much.
func readOwn(begun []byte, body io.Reader, length, most int64) ([]byte, error) {
	var pieces [][]byte
	piece := append(make([]byte, 0, min(max(length, int64(len(begun)+pooledBuffer)), most)+1), begun...)
	for size := int64(len(piece)); ; {
		n, err := body.Read(piece[len(piece):cap(piece)])
		piece = piece[:len(piece)+n]
		switch size += int64(n); {
		case size > most:
			return nil, ErrTooLarge
		case errors.Is(err, io.EOF) && len(piece) == int(length):
			return piece, nil
		case errors.Is(err, io.EOF):
			return joined(append(pieces, piece), size), nil
		case err != nil:
			return nil, fmt.Errorf("read answer after %d bytes: %w", size, err)
		case len(piece) == cap(piece):
			pieces, piece = append(pieces, piece), make([]byte, 0, min(pooledBuffer, most+1-size))
		}
	}
}

// joined makes one text of pieces, and lets go of each on the way.
func joined(pieces [][]byte, size int64) []byte {
	text := make([]byte, 0, size)
	for i, piece := range pieces {
		text, pieces[i] = append(text, piece...), nil
	}
	return text
}

// isOwn reports whether the text of a body is used for nothing else afterwards, so that what is taken from it need not be copied.
func isOwn(body []byte) bool { return len(body) > pooledBuffer }

// growing tells of the size of what is read.
type growing struct {
	io.Reader
	size int64
	grow func(size int64) error
}

// Read fails when there is no room for what it has read.
func (g *growing) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	g.size += int64(n)
	if full := g.grow(g.size); full != nil {
		return n, full
	}
	return n, err
}

func (b *bodies) buffer() *bytes.Buffer {
	if buf, ok := b.pool.Get().(*bytes.Buffer); ok {
		buf.Reset()
		return buf
	}
	return new(bytes.Buffer)
}

func (b *bodies) release(buf *bytes.Buffer) {
	if buf.Cap() <= pooledBuffer {
		b.pool.Put(buf)
	}
}

// readExcerpt reads the beginning of an error's body.
func readExcerpt(resp *http.Response) ([]byte, error) {
	body, done, err := decompress(resp)
	if err != nil {
		return nil, err
	}
	defer done()
	return io.ReadAll(io.LimitReader(body, errorBody))
}

// decompress undoes the Content-Encoding; done must be called after reading.
func decompress(resp *http.Response) (io.Reader, func(), error) {
	switch encoding := strings.ToLower(resp.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
		return resp.Body, func() {}, nil
	case "gzip", "x-gzip":
		unzip, err := gzip.NewReader(resp.Body)
		if err != nil {
			return nil, nil, fmt.Errorf("read compressed answer: %w", err)
		}
		return unzip, func() { _ = unzip.Close() }, nil
	default:
		return nil, nil, fmt.Errorf("read answer: unknown Content-Encoding %.20q", encoding)
	}
}
