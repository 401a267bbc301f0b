package preview

import (
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// strictest are the objects of which a copy is marked too strictly to be let in, by the hash of their id, with the newest version
// that such a copy is of: none of it or of an earlier one goes after it, whatever other copies state.
type strictest map[uint64]time.Time

// mostStrict bounds that: some 10 MB. Of what comes beyond, other copies count as sent.
const mostStrict = 200_000

// note takes up a copy that a filter leaves out.
func (s strictest) note(o pipeline.Object) {
	if o.Filtered != pipeline.TooStrict {
		return
	}
	id := hashOf(o.ID)
	if newest, known := s[id]; known || len(s) < mostStrict {
		s[id] = later(newest, o.Modified)
	}
}

// bars says that a copy is not sent for what such a copy states.
func (s strictest) bars(o pipeline.Object) bool {
	newest, known := s[hashOf(o.ID)]
	return known && !o.Modified.After(newest)
}
