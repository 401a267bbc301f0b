package transform

import (
	"bytes"

	"github.com/opencti-connectors/threatmatch/transform/description"
)

// telling is what a description says: nothing but words, or a text that has to be converted.
type telling struct {
	// words are what is shown, and whole says that it is all there is.
	words []byte
	whole bool
	text  string
}

// description keeps a description in the format that is asked for, and as it came when that changes nothing. What is no text
// is left out and counted.
func (b *builder) description(m member) {
	if !isString(m.value) {
		b.s.mended = true
		return
	}
	b.open(m)
	if b.p.descriptions == HTML {
		b.s.out = append(b.s.out, m.value...)
		return
	}
	s, told := b.s, b.descriptionText(m.value)
	shown, whole := told.words, told.whole
	if shown == nil {
		s.described = s.describe.Append(s.ctx, s.described[:0], b.p.descriptions, told.text)
		shown, whole = s.described, string(s.described) == told.text
	}
	switch {
	case whole:
		s.out = append(s.out, m.value...)
		return
	case told.words != nil && bytes.IndexByte(shown, '"') < 0: // of what words hold nothing else has to be escaped
		s.out = append(append(append(s.out, '"'), shown...), '"')
	default:
		s.out = appendQuoted(s.out, shown)
	}
	s.places[len(s.places)-1].canonical = true
}

// descriptionText returns what the description says, for which two ask.
func (b *builder) descriptionText(value []byte) *telling {
	if b.told.words != nil || b.told.text != "" {
		return &b.told
	}
	said := value[1 : len(value)-1]
	if bytes.IndexByte(said, '\\') >= 0 {
		b.s.described = appendUnquoted(b.s.described[:0], value)
		said = b.s.described
	}
	if words, ok := description.Plain(said); ok {
		b.told = telling{words: words, whole: len(words) == len(said)}
	} else {
		b.told.text = string(said)
	}
	return &b.told
}

// links are the addresses that the description leads to. Release 7.260817 of the Python connector, which dropped labels, had
// none of them; what OpenCTI keeps without external references has none either.
func (b *builder) links() []string {
	value := b.find("description")
	if b.p.labels == LabelsDropped || unmarked(b.o.Type) || !isString(value) {
		return nil
	}
	told := b.descriptionText(value)
	if told.words != nil {
		return nil
	}
	b.s.links = b.s.describe.AppendLinks(b.s.links[:0], told.text)
	return b.s.links
}
