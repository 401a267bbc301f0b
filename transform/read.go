package transform

import (
	"bytes"
	"errors"
	"iter"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Both leave out blanks and nothing else. strict takes nothing but what every reader of JSON understands alike.
var (
	strict = []jsontext.Options{jsontext.PreserveRawStrings(true), jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false)}
	loose  = []jsontext.Options{jsontext.PreserveRawStrings(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
)

// itemText is the text of an item, which is valid JSON: a STIX object or a list of them.
type itemText struct {
	text []byte
	// lax says that names may be repeated in it, and texts be no Unicode; repaired counts the objects of which that was so.
	lax      bool
	repaired uint64
}

// readItem reads an item, whose bytes its text may share. known says that they were read strictly already.
func readItem(data []byte, known bool) (itemText, error) {
	item := itemText{text: data}
	if n := len(data); n > 0 && (data[0] <= ' ' || data[n-1] <= ' ') {
		item.text = bytes.Trim(data, blanks)
	}
	if !known && !jsontext.Value(data).IsValid(strict...) {
		_, err := jsontext.AppendFormat(nil, data, strict...)
		if !utf8.Valid(data) {
			data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
		}
		text, lax := jsontext.AppendFormat(nil, data, loose...)
		if lax != nil {
			return itemText{}, err
		}
		item = itemText{text: text, lax: true}
	}
	if len(item.text) == 0 || item.text[0] != '{' && item.text[0] != '[' {
		return itemText{}, errors.New("it is neither a STIX object nor a list of them")
	}
	return item, nil
}

func (t *itemText) isList() bool { return t.text[0] == '[' }

// parsed is an object of an item.
type parsed struct {
	text    []byte
	members []member
	// levels is how many arrays and objects stand within each other at most, 0 for what is no object.
	levels int
}

// objects reads the objects into o one by one, for a list can hold millions of what are none, and yields their numbers. Everything
// in them is compact valid JSON with unique names.
func (t *itemText) objects(o *parsed) iter.Seq[int] {
	return func(yield func(int) bool) {
		if !t.isList() {
			t.read(o, 0)
			yield(0)
			return
		}
		for n, at := 0, skipBlanks(t.text, 1); at < len(t.text) && t.text[at] != ']'; n++ {
			end := t.read(o, at)
			if end <= at || !yield(n) {
				return
			}
			if at = skipBlanks(t.text, end); at < len(t.text) && t.text[at] == ',' {
				at = skipBlanks(t.text, at+1)
			}
		}
	}
}

// read reads the object that begins at a place, and returns the place behind it.
func (t *itemText) read(o *parsed, at int) (end int) {
	if o.members, end, o.levels = scanObject(o.members[:0], t.text, at); end > 0 && !t.lax {
		o.text = t.text[at:end]
		return end
	}
	end = max(at, skipValue(t.text, at))
	if o.text = t.text[at:end]; t.text[at] == '{' {
		if t.lax {
			o.text = t.repair(o.text)
		} else {
			o.text, _ = jsontext.AppendFormat(make([]byte, 0, len(o.text)), o.text, loose...)
		}
		o.members, _, o.levels = scanObject(o.members[:0], o.text, 0)
	}
	return end
}

// repair returns an object as every reader of JSON understands it.
func (t *itemText) repair(object []byte) []byte {
	if isDeeper(object, mostLevels) { // which is left out
		return object
	}
	fixed := repaired(object)
	if bytes.Equal(fixed, object) {
		return object
	}
	t.repaired++
	return fixed
}

// blanks are what JSON allows between its tokens.
const blanks = " \t\r\n"

// skipBlanks returns the position of what follows on the blanks at i.
func skipBlanks(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n') {
		i++
	}
	return i
}
