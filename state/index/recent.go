package index

import (
	"encoding/binary"
	"sync/atomic"
)

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

// often holds records that were found more than once of late: nearly all objects refer to the same author and the same marking. A
// record is dropped when another one is put under its key, so that what is here is the last one, and can be read without a lock. It
// is written with Index.mu held: for reading by those who have just found the record, and for writing by those who change it.
type often [256]atomic.Pointer[entry]

func (o *often) slot(k Key) *atomic.Pointer[entry] {
	return &o[binary.LittleEndian.Uint64(k[:])%uint64(len(o))]
}

func (o *often) add(k Key, r Record) { o.slot(k).Store(&entry{k, r}) }

func (o *often) record(k Key) (Record, bool) {
	if e := o.slot(k).Load(); e != nil && e.Key == k {
		return e.Record, true
	}
	return Record{}, false
}

func (o *often) drop(k Key) {
	if _, holds := o.record(k); holds {
		o.slot(k).Store(nil)
	}
}

func (o *often) clear() {
	for i := range o {
		o[i].Store(nil)
	}
}
