package transform

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// readItem splits an item into the compact texts of its objects. Everything in them is valid JSON with unique names;
// repaired counts those that had to be made so.
func readItem(data []byte) (objects [][]byte, repaired uint64, err error) {
	text := jsontext.Value(bytes.Clone(data))
	err = text.Compact(jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false))
	if err == nil {
		objects, err = split(text)
		return objects, 0, err
	}
	if !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	text = append(text[:0], data...)
	if text.Compact(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil {
		return nil, 0, err
	}
	if objects, err = split(text); err != nil {
		return nil, 0, err
	}
	for i, o := range objects {
		if fixed := appendRepaired(nil, o); !bytes.Equal(fixed, o) {
			objects[i] = fixed
			repaired++
		}
	}
	return objects, repaired, nil
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
