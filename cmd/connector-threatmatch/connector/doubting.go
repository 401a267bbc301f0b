package connector

import (
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// doubtingIndex knows nothing of what runs have delivered whose work was deleted: OpenCTI's workers may have dropped it.
type doubtingIndex struct {
	emit.Index
	doubted map[uint32]bool
}

// Lookup passes on what is not doubted.
func (x doubtingIndex) Lookup(k index.Key) (index.Record, bool) {
	r, found := x.Index.Lookup(k)
	if x.doubted[r.Run] {
		return index.Record{}, false
	}
	return r, found
}
