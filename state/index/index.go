package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Key stands for the id of a STIX object.
type Key [16]byte

// KeyOf returns the key of a STIX id: the first half of its SHA-256, so that keys spread evenly whatever the ids are.
func KeyOf(id string) Key {
	sum := sha256.Sum256([]byte(id))
	return Key(sum[:16])
}

func compareKeys(a, b Key) int { return bytes.Compare(a[:], b[:]) }

// Record is what is remembered of a delivered object.
type Record struct {
	// Digest is the hash of the content as it was sent.
	Digest uint64
	// Modified is the version that was sent, in microseconds since 1970, 0 for an object without one.
	Modified int64
	// Run is the number of the run that sent it.
	Run uint32
	// Seq is the place in the sequence of that run at which it was sent.
	Seq uint32
}

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

// Index is the set of delivered objects. Its methods may be called from several goroutines.
type Index struct {
	dir       string
	identity  Identity
	opts      Options
	lock      *os.File
	temporary bool
	waiting   *Waiting
	create    createFunc

	// writing and merging are held by the one that adds a table and by the one that replaces some; whoever needs both
	// takes merging first.
	writing chan struct{}
	merging chan struct{}
	named   bool    // the identity file names id; belongs to writing
	room    []entry // reused to sort a batch; belongs to writing

	stop   context.CancelFunc // ends the goroutines when they are idle
	life   context.Context    // of merges
	abort  context.CancelFunc // ends it
	done   sync.WaitGroup
	full   chan struct{} // says that a batch is ready to be written
	grown  chan struct{} // says that there is a new table
	merged chan struct{} // says that there are fewer tables, or that merging fails

	mu        sync.RWMutex
	id        uuid.UUID
	pending   map[Key]Record // put, and not yet being written
	frozen    map[Key]Record // being written
	spare     map[Key]Record // empty, with the room of an earlier batch
	tables    []*table       // oldest first
	next      uint64         // number of the next table
	count     int64
	seen      seen
	forgotten int64
	health    health
	closed    bool
}

// Lookup returns the record that was put last under a key. What cannot be read counts as not delivered: the price is an
// object that is sent again.
func (x *Index) Lookup(k Key) (Record, bool) {
	x.mu.RLock()
	r, ok, err := x.find(k)
	if ok {
		x.seen.add(k)
	}
	x.mu.RUnlock()
	if err != nil {
		x.mu.Lock()
		x.health.note(err)
		x.mu.Unlock()
	}
	return r, ok
}

// find wants mu held for reading. After an error no older table is asked: what it holds may have been superseded.
func (x *Index) find(k Key) (Record, bool, error) {
	if r, ok := x.pending[k]; ok {
		return r, true, nil
	}
	if r, ok := x.frozen[k]; ok {
		return r, true, nil
	}
	for i := len(x.tables) - 1; i >= 0; i-- {
		if r, ok, err := x.tables[i].find(k); ok || err != nil {
			return r, ok, err
		}
	}
	return Record{}, false, nil
}

// Put remembers a delivered object; it belongs after the broker's confirm. The record is seen by [Index.Lookup] at once and
// survives the process after the next [Index.Flush], or when a batch has been written in the background. Put waits for the
// disk only when that lags several batches behind; it does nothing on a closed index.
func (x *Index) Put(k Key, r Record) {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return
	}
	if !x.seen.holds(k) {
		_, known, err := x.find(k)
		x.health.note(err)
		if !known {
			x.count++
		}
	}
	x.pending[k] = r
	n := len(x.pending)
	limit := pendingBatches * x.opts.Batch
	if n > limit && x.health.failing {
		x.forgetOne(k)
	}
	lagging := n > limit && !x.health.failing
	x.mu.Unlock()
	if n >= x.opts.Batch {
		signal(x.full)
	}
	if lagging {
		// The error is kept for the next Flush: this call has no way to return it.
		x.write(context.Background())
	}
}

// seen holds some of the keys that were looked up lately and found. Put counts objects, so it must know whether a key is
// new, and mostly that was asked a moment ago. Two keys with the same beginning would cost a wrong count, no more.
type seen [8192]atomic.Uint64

func (s *seen) slot(k Key) (*atomic.Uint64, uint64) {
	n := binary.LittleEndian.Uint64(k[:])
	return &s[n%uint64(len(s))], n
}

func (s *seen) add(k Key) {
	slot, n := s.slot(k)
	slot.Store(n)
}

func (s *seen) holds(k Key) bool {
	slot, n := s.slot(k)
	return n != 0 && slot.Load() == n
}

func (s *seen) clear() {
	for i := range s {
		s[i].Store(0)
	}
}

// forgetOne drops any pending record but the given one; it wants mu held.
func (x *Index) forgetOne(but Key) {
	for k := range x.pending {
		if k == but {
			continue
		}
		delete(x.pending, k)
		x.forgotten++
		x.seen.clear()
		if _, known, _ := x.find(k); !known {
			x.count--
		}
		return
	}
}

// Len returns how many objects are remembered.
func (x *Index) Len() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.count
}

// Size returns the bytes on disk, waiting objects not included.
func (x *Index) Size() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var n int64
	for _, t := range x.tables {
		n += t.size
	}
	return n
}

// Forgotten returns how many records were dropped from memory because the disk took none; their objects are sent again.
func (x *Index) Forgotten() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.forgotten
}

// ID returns the id of the index, the same as [Opening.ID] until [Index.Empty] gives it another.
func (x *Index) ID() string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.id.String()
}

// Waiting returns the store of waiting objects beside the index. It ends with the index.
func (x *Index) Waiting() *Waiting { return x.waiting }

// HoldsBack reports whether objects of earlier runs wait for others.
func (x *Index) HoldsBack() bool { return x.waiting.HeldBack() > 0 }

// closeGrace is how long Close may go on merging, within what a container is given to stop. What it does not get done costs room on disk until the next run has.
const closeGrace = time.Second

// Close writes what is pending, merges what is due for at most [closeGrace], and releases the folder. Of a temporary index
// nothing stays.
func (x *Index) Close() error {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return nil
	}
	x.closed = true
	x.health.failing = false // one last attempt, whatever the disk said before
	x.mu.Unlock()

	errs := []error{x.finish()}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closeTables()
	errs = append(errs, x.waiting.close(), x.lock.Close())
	if x.temporary {
		errs = append(errs, os.RemoveAll(x.dir))
	}
	return errors.Join(errs...)
}

// finish ends the goroutines and brings the files in order.
func (x *Index) finish() error {
	x.stop()
	signal(x.merged)
	if x.temporary {
		x.abort()
		x.done.Wait()
		return nil
	}
	defer time.AfterFunc(closeGrace, x.abort).Stop()
	defer x.abort()
	x.done.Wait()
	err := x.Flush(context.Background())
	x.mergeDue(x.life)
	return err
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func acquire(ctx context.Context, c chan struct{}) error {
	select {
	case c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
