package preview

import (
	"encoding/json"
	"slices"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// samples keeps a few objects, of as many types as it can.
type samples struct {
	most int
	kept []pipeline.Object
}

// largestSample is what a person still reads, in bytes.
const largestSample = 8 << 10

// take keeps an object where there is room, or where it is of a new type and another type is there twice.
func (s *samples) take(o pipeline.Object) {
	if s.most == 0 || len(o.JSON) > largestSample {
		return
	}
	if len(s.kept) < s.most {
		s.kept = append(s.kept, o)
		return
	}
	last := map[string]int{} // of each type, the place of the last one
	twice := -1
	for i, k := range s.kept {
		if k.Type == o.Type {
			return
		}
		if _, again := last[k.Type]; again {
			twice = i
		}
		last[k.Type] = i
	}
	if twice >= 0 {
		s.kept[twice] = o
	}
}

// drop takes those away that turn out not to be sent.
func (s *samples) drop(leftOut func(pipeline.Object) bool) {
	s.kept = slices.DeleteFunc(s.kept, leftOut)
}

// texts are the objects' JSON.
func (s *samples) texts() []json.RawMessage {
	texts := make([]json.RawMessage, 0, len(s.kept))
	for _, o := range s.kept {
		texts = append(texts, o.JSON)
	}
	return texts
}
