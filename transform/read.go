package transform

import (
	"bytes"
	"errors"
	"iter"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// verbatim leaves out blanks and nothing else, strict takes nothing but what every reader of JSON understands alike.
var (
	verbatim = jsontext.PreserveRawStrings(true)
	strict   = []jsontext.Options{verbatim, jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false)}
)

// itemText is the compact text of an item, which is valid JSON: a STIX object or a list of them.
type itemText struct {
	text []byte
	// lax says that names may be repeated in it, and texts be no Unicode; repaired counts the objects of which that was so.
	lax      bool
	repaired uint64
}

// readItem reads an item, whose bytes its text may share. known says that they were read strictly already.
func readItem(data []byte, known bool) (itemText, error) {
	text, err := data, error(nil)
	if !isCompact(data) || !known && !jsontext.Value(data).IsValid(strict...) {
		text, err = jsontext.AppendFormat(make([]byte, 0, len(data)), data, strict...)
	}
	item := itemText{text: text}
	if err != nil {
		if !utf8.Valid(data) {
			data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
		}
		var lax error
		if item.text, lax = jsontext.AppendFormat(nil, data, verbatim, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); lax != nil {
			return itemText{}, err
		}
		item.lax = true
	}
	if len(item.text) == 0 || item.text[0] != '{' && item.text[0] != '[' {
		return itemText{}, errors.New("it is neither a STIX object nor a list of them")
	}
	return item, nil
}

func (t *itemText) isList() bool { return t.text[0] == '[' }

// objects yields the objects one by one, for a list can hold millions of what are none. Everything in them is valid JSON with
// unique names.
func (t *itemText) objects() iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		if !t.isList() {
			yield(0, t.repair(t.text))
			return
		}
		for n, at := 0, 1; at < len(t.text) && t.text[at] != ']'; n++ {
			end := skipValue(t.text, at)
			if end <= at || !yield(n, t.repair(t.text[at:end])) {
				return
			}
			if at = end; t.text[at] == ',' {
				at++
			}
		}
	}
}

// repair returns an object as every reader of JSON understands it.
func (t *itemText) repair(object []byte) []byte {
	if !t.lax || isDeeper(object, mostLevels) { // which is left out
		return object
	}
	fixed := repaired(object)
	if bytes.Equal(fixed, object) {
		return object
	}
	t.repaired++
	return fixed
}

// isCompact reports whether there are no blanks between the tokens of a JSON text: then large items need not be copied.
func isCompact(text []byte) bool {
	for i := 0; i >= 0 && i < len(text); {
		switch text[i] {
		case ' ', '\t', '\r', '\n':
			return false
		case '"':
			i = skipString(text, i) // below 0 it is no JSON
		default:
			i++
		}
	}
	return true
}
