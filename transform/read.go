package transform

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// verbatim leaves out blanks and nothing else, strict takes nothing but what every reader of JSON understands alike.
var (
	verbatim = jsontext.PreserveRawStrings(true)
	strict   = []jsontext.Options{verbatim, jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false)}
)

// readItem splits an item into the compact texts of its objects, which may be parts of data. Everything in them is valid JSON
// with unique names; repaired counts those that had to be made so.
func readItem(data []byte) (objects [][]byte, repaired uint64, err error) {
	text := data
	if !isCompact(data) || !jsontext.Value(data).IsValid(strict...) {
		text, err = jsontext.AppendFormat(make([]byte, 0, len(data)), data, strict...)
	}
	if err == nil {
		objects, err = split(text)
		return objects, 0, err
	}
	if !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	text, lax := jsontext.AppendFormat(nil, data, verbatim, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if lax != nil {
		return nil, 0, err
	}
	if objects, err = split(text); err != nil {
		return nil, 0, err
	}
	for i, o := range objects {
		if isDeeper(o, mostLevels) {
			continue // it is left out
		}
		if fixed := appendRepaired(nil, o); !bytes.Equal(fixed, o) {
			objects[i] = fixed
			repaired++
		}
	}
	return objects, repaired, nil
}

// isCompact reports whether there are no blanks between the tokens of a JSON text: then large items need not be copied.
func isCompact(text []byte) bool {
	for len(text) > 0 {
		i := bytes.IndexAny(text, "\" \t\r\n")
		if i < 0 {
			return true
		}
		if text[i] != '"' {
			return false
		}
		text = text[i+1:]
		for len(text) > 0 && text[0] != '"' {
			i := bytes.IndexAny(text, "\"\\")
			if i < 0 {
				return true // it is no JSON
			}
			if text = text[i:]; text[0] == '\\' {
				text = text[min(2, len(text)):]
			}
		}
		text = text[min(1, len(text)):]
	}
	return true
}

func split(text []byte) ([][]byte, error) {
	switch {
	case len(text) > 0 && text[0] == '{':
		return [][]byte{text}, nil
	case len(text) > 0 && text[0] == '[':
		if objects, ok := appendElements(nil, text); ok {
			return objects, nil
		}
	}
	return nil, errors.New("it is neither a STIX object nor a list of them")
}

// appendRepaired appends a value in which every name stands once, at its first place with its last value, and every
// string is Unicode.
func appendRepaired(dst, value []byte) []byte {
	switch value[0] {
	case '"':
		plain, err := jsontext.AppendUnquote(nil, value)
		if err == nil {
			return append(dst, value...)
		}
		return appendQuoted(dst, plain)
	case '[':
		elements, _ := appendElements(nil, value)
		dst = append(dst, '[')
		for i, e := range elements {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendRepaired(dst, e)
		}
		return append(dst, ']')
	case '{':
		members, _ := appendMembers(nil, value)
		last := make(map[string]int, len(members))
		for i, m := range members {
			last[string(m.name)] = i
		}
		dst = append(dst, '{')
		start := len(dst)
		for _, m := range members {
			at, first := last[string(m.name)]
			if !first {
				continue
			}
			delete(last, string(m.name))
			if len(dst) > start {
				dst = append(dst, ',')
			}
			dst = append(appendRepaired(dst, m.quoted), ':')
			dst = appendRepaired(dst, members[at].value)
		}
		return append(dst, '}')
	}
	return append(dst, value...)
}
