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

// read reads a body of at most b.most bytes, and tells grow, which may be nil, of its size. A body that would not fit into a
// buffer that is kept has a text of its own (see [isOwn]), else it is in buf.
func (b *bodies) read(buf *bytes.Buffer, resp *http.Response, grow func(size int64) error) ([]byte, error) {
	if resp.ContentLength > b.most {
		return nil, b.tooLarge()
	}
	body, done, err := decompress(resp)
	if err != nil {
		return nil, err
	}
	defer done()
	if hint := min(resp.ContentLength, sizeHintMax); hint > 0 {
		buf.Grow(int(hint) + bytes.MinRead)
	}
	if grow != nil {
		body = &growing{Reader: body, grow: grow}
	}
	const beginning = 512
	if _, err := io.CopyN(buf, body, beginning); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read answer after %d bytes: %w", buf.Len(), err)
	}
	if bytes.HasPrefix(bytes.TrimLeft(buf.Bytes(), blanks), []byte("<")) {
		_, _ = io.CopyN(buf, body, errorBody) // a page for people, who need no more of it
		return buf.Bytes(), nil
	}
	_, err = buf.ReadFrom(io.LimitReader(body, min(b.most, pooledBuffer)+1-int64(buf.Len())))
	text := buf.Bytes()
	if err == nil && isOwn(text) { // ReadAll leaves no room behind the text, where a buffer doubles
		text, err = io.ReadAll(io.LimitReader(io.MultiReader(bytes.NewReader(text), body), b.most+1))
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("read answer after %d bytes: %w", len(text), err)
	case int64(len(text)) > b.most:
		return nil, b.tooLarge()
	}
	return text, nil
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

func (b *bodies) tooLarge() error {
	return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, b.most)
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
