package transform

import (
	"context"
	"html"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform/description"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// Fitter gives relations a type that OpenCTI takes between their ends. The zero value leaves all as they are.
type Fitter struct {
	// Table says what OpenCTI takes; nil leaves relations as they are.
	Table *relations.Table
	// Descriptions is the format that [Config.Descriptions] gave the relations' descriptions.
	Descriptions Format
}

// Fit returns a relation as OpenCTI takes it, and anything else as it is: under the same type, else under another that
// means the same, else as related-to, with the type that it had as the first words of its description. from and to are
// the types before and after; to is "" when nothing had to change. kind tells the [pipeline.Object.Kind] of an end, 0 where
// it is not known: then every type that the end can have counts.
//
// The Digest stays: it tells which content of the source the object was made from, whatever its type became. An addition
// (see [Addition]) gets no description, which would take the place of its relation's.
func (f Fitter) Fit(o pipeline.Object, kind func(ref string) uint8) (fitted pipeline.Object, from, to string) {
	if f.Table == nil || o.Type != "relationship" {
		return o, "", ""
	}
	var room [24]member
	members, ok := appendMembers(room[:0], o.JSON)
	if !ok {
		return o, "", ""
	}
	var relation, source, target, text []byte
	for _, m := range members {
		switch string(m.name) {
		case "relationship_type":
			relation = m.value
		case "source_ref":
			source = m.value
		case "target_ref":
			target = m.value
		case "description":
			if isString(m.value) {
				text = m.value
			}
		}
	}
	if !isString(relation) || !isString(source) || !isString(target) {
		return o, "", ""
	}
	end := func(ref []byte) relations.End {
		e := relations.End{ID: string(unquote(ref))}
		if stixType, _, _ := strings.Cut(e.ID, "--"); relations.HasKinds(stixType) {
			e.Kind = kind(e.ID)
		}
		return e
	}
	from = string(unquote(relation))
	to, same := f.Table.Fit(from, end(source), end(target))
	if to == from {
		return o, "", ""
	}
	described := ""
	if _, adds := additionTo(o); !same && !adds {
		described = f.describe(from, string(unquote(text)))
	}
	o.JSON = appendRetyped(make([]byte, 0, len(o.JSON)+64+len(from)), members, to, described)
	return o, from, to
}

// appendRetyped appends a relation with another type and, unless it is "", another description.
func appendRetyped(dst []byte, members []member, to, described string) []byte {
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, m.quoted...), ':')
		switch {
		case string(m.name) == "relationship_type":
			dst = appendQuoted(dst, to)
		case string(m.name) == "description" && described != "":
			dst = appendQuoted(dst, described)
			described = ""
		default:
			dst = append(dst, m.value...)
		}
	}
	if described != "" {
		dst = appendQuoted(append(dst, `,"description":`...), described)
	}
	return append(dst, '}')
}

// describe puts a relation's type before its description: "Attributed to." for attributed-to.
func (f Fitter) describe(relation, text string) string {
	words := strings.Join(strings.FieldsFunc(relation, func(r rune) bool { return r == '-' || unicode.IsSpace(r) }), " ")
	if words == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(words)
	words = "<p>" + html.EscapeString(string(unicode.ToUpper(first))+words[size:]+".") + "</p>"
	words = description.Convert(context.Background(), f.Descriptions, words)
	// In Markdown a list, a heading or a table has to begin its line; what begins with a letter is none of them.
	first, _ = utf8.DecodeRuneInString(text)
	switch {
	case strings.TrimSpace(text) == "":
		return words
	case f.Descriptions == HTML:
		return words + text
	case f.Descriptions == Markdown && !unicode.IsLetter(first):
		return words + "\n\n" + text
	}
	return words + " " + text
}
