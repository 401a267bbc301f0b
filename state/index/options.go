package index

import (
	"crypto/rand"
	"io"
	"time"
)

// Options are the bounds of an index and what tests replace. The zero Options are good for production.
type Options struct {
	// Batch is how many records are buffered before they are written in the background; 0 means 16384, which is 0.7 MB
	// of disk and 1.5 MB of memory a batch.
	Batch int
	// MaxWaiting and MaxWaitingBytes bound the waiting objects; 0 means 200,000 objects and 512 MiB. About 100 bytes of
	// memory stand for each, and their text is on disk only.
	MaxWaiting      int
	MaxWaitingBytes int64
	// TempDir is where a temporary index goes; "" means the system's folder for temporary files.
	TempDir string
	// Now is the clock that paces attempts to write to a disk that failed; nil means time.Now.
	Now func() time.Time
	// Rand is where the id of a new index comes from; nil means crypto/rand.
	Rand io.Reader
}

func (o Options) withDefaults() Options {
	if o.Batch <= 0 {
		o.Batch = 16384
	}
	if o.MaxWaiting <= 0 {
		o.MaxWaiting = 200_000
	}
	if o.MaxWaitingBytes <= 0 {
		o.MaxWaitingBytes = 512 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return o
}
