package transform

import (
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Yield returns an object without what other copies of its version have stated with more weight. An author of a smaller hash goes,
// also the one that the mapping adds where the source names none: OpenCTI keeps what is not said anew. In place of standard
// markings that are less strict, or of the one that the mapping adds, stands the strictest that was stated.
func (t *Transformer) Yield(o pipeline.Object, stated pipeline.Stated) pipeline.Object {
	members, ok := appendMembers(nil, o.JSON)
	author, marking := stated.Author > o.Stated.Author, ""
	if stated.Level > o.Stated.Level {
		marking = strictest(stated.Level)
	}
	if !ok || !author && marking == "" {
		return o
	}
	var refs refSet
	refs.reset(o.ID, o.AltID)
	out := append(make([]byte, 0, len(o.JSON)), '{')
	for _, m := range members {
		if author && string(m.name) == authorKey {
			continue
		}
		if marking != "" && string(m.name) == markingKey {
			m.value = markedAtLeast(m.value, marking)
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, m.quoted...), ':'), m.value...)
		refs.addAllOf(m)
	}
	o.JSON, o.Refs = append(out, '}'), refs.ids
	return o
}

// markedAtLeast is a list of markings with one that takes the place of all other standard ones.
func markedAtLeast(list []byte, marking string) []byte {
	out := appendQuoted([]byte("["), marking)
	for e := range elements(list) {
		if _, standard := standardMarkings[string(unquote(e))]; !standard {
			out = append(append(out, ','), e...)
		}
	}
	return append(out, ']')
}

// strictest is the id that OpenCTI has for a standard marking of some strictness, "" for none.
func strictest(level uint8) string {
	return map[uint8]string{levelWhite: tlpWhite, levelGreen: tlpGreen, levelAmber: tlpAmber, levelAmberStrict: tlpAmberStrict, levelRed: tlpRed}[level]
}
