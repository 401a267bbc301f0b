package emit

import (
	"hash/maphash"

	"github.com/opencti-connectors/threatmatch/state/index"
)

// keyring remembers the keys of some ids that came lately: nearly all objects refer to the same author and the same marking, which
// mostly come with each of them.
type keyring struct {
	seed  maphash.Seed
	known [64]struct {
		id  string
		key index.Key
	}
}

func newKeyring() *keyring { return &keyring{seed: maphash.MakeSeed()} }

// of returns the key of an id.
func (r *keyring) of(id string) index.Key {
	known := &r.known[maphash.String(r.seed, id)%uint64(len(r.known))]
	if known.id != id {
		known.id, known.key = id, index.KeyOf(id)
	}
	return known.key
}
