package transform

import "github.com/cespare/xxhash/v2"

// internTable makes strings of ids: the same ones over and over, for an object refers to those around it. It has room for
// some that were asked for before.
type internTable [1 << 10]string

// of returns a text as a string. A nil table makes a new one each time, as is made of what is too long to be an id.
func (t *internTable) of(text []byte) string {
	if t == nil || len(text) > longestID {
		return string(text)
	}
	place := &t[xxhash.Sum64(text)%uint64(len(t))]
	if *place != string(text) {
		*place = string(text)
	}
	return *place
}
