package threatmatch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Group is a collection of indicators.
type Group struct{ ID, Name string }

// IndicatorPage is one answer of the indicators' paging.
type IndicatorPage struct {
	// More says that the API holds more after this page. An API that does not say counts as holding more.
	More bool
	// Objects are the indicators, verbatim.
	Objects []json.RawMessage
	// Strict says of them what [Item.Strict] says of an item's.
	Strict bool
}

// Item is one answer that holds the STIX objects of an item.
type Item struct {
	// Objects is the text of a JSON array, verbatim.
	Objects json.RawMessage
	// Strict says that every reader of JSON understands the text alike: no name is repeated in an object, and all is Unicode.
	Strict bool
}

// shapeError is a well formed answer that does not hold what was asked for.
type shapeError string

func (e shapeError) Error() string { return string(e) }

// saidError is a good status whose body says that the call failed.
type saidError string

func (e saidError) Error() string { return "the answer holds an error: " + string(e) }

// decodeFunc reads a body, of which its result may keep parts where [isOwn] says so. Lax accepts repeated member names (the last one counts) and invalid UTF-8.
type decodeFunc func(body []byte, lax bool) error

// blanks are what JSON allows between its tokens, and byteOrderMark is what some programs put before it.
const (
	blanks        = " \t\r\n"
	byteOrderMark = "\xef\xbb\xbf"
)

// decodeBody reads strictly, and leniently when only leniency helps; the second error is then the reason for it. What is nested so
// deep that it would cost the whole answer is emptied in the body.
func decodeBody(body []byte, decode decodeFunc) (err, irregular error) {
	body = bytes.TrimPrefix(body, []byte(byteOrderMark))
	text := bytes.TrimLeft(body, blanks)
	switch {
	case len(text) == 0:
		return errors.New("the answer is empty"), nil
	case text[0] == '<':
		return errors.New("the answer is HTML, not JSON: " + string(cut(text))), nil
	case len(text) > errorBody: // of an error no more is read
		if said := errorAhead(text); said != nil {
			return saidError(cut(said)), nil
		}
	}
	err = decode(body, false)
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		if flat, deep := flatten(body); deep {
			body = flat
			err = decode(body, false)
		}
	}
	if !errors.As(err, &syntax) {
		return err, nil
	}
	if lax := decode(body, true); lax == nil || !errors.As(lax, &syntax) {
		return lax, err
	}
	return fmt.Errorf("the answer is not JSON: %w", err), nil
}

// cut leaves so much of a text as is of use to a person, before anything is made of it.
func cut(text []byte) []byte { return text[:min(len(text), errorBody)] }

func newDecoder(body []byte, lax bool) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(lax), jsontext.AllowInvalidUTF8(lax))
}

// readObject walks the members of the object that body is. visit consumes the value of a member that it knows.
func readObject(body []byte, lax bool, visit func(name string, dec *jsontext.Decoder) (known bool, err error)) error {
	dec := newDecoder(body, lax)
	if kind := dec.PeekKind(); kind != '{' {
		return notThe(dec, kind, "object")
	}
	said, err := readMembers(dec, visit)
	if err != nil {
		return err
	}
	if err := readEnd(dec); err != nil {
		return err
	}
	if said != "" {
		return saidError(said)
	}
	return nil
}

// readMembers also reports what a member "error" says, "" when there is none or an empty one.
func readMembers(dec *jsontext.Decoder, visit func(string, *jsontext.Decoder) (bool, error)) (said string, err error) {
	if _, err := dec.ReadToken(); err != nil {
		return "", err
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return "", err
		}
		member := name.String()
		if member == "error" {
			value, err := dec.ReadValue()
			if err != nil {
				return "", err
			}
			if !saysNothing(value) {
				said = string(cut(value))
			}
			continue
		}
		known, err := visit(member, dec)
		if err == nil && !known {
			err = dec.SkipValue()
		}
		if err != nil {
			return "", err
		}
	}
	_, err = dec.ReadToken()
	return said, err
}

func readEnd(dec *jsontext.Decoder) error {
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		if err == nil {
			err = &jsontext.SyntacticError{ByteOffset: dec.InputOffset(), Err: errors.New("text after the answer")}
		}
		return err
	}
	return nil
}

func notThe(dec *jsontext.Decoder, kind jsontext.Kind, want string) error {
	if _, err := dec.ReadValue(); err != nil {
		return syntactic(err)
	}
	return shapeError(fmt.Sprintf("the answer is %s, not an %s", kindName(kind), want))
}

// syntactic makes an end in the middle look like every other fault of syntax.
func syntactic(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return err
	}
	return &jsontext.SyntacticError{Err: err}
}

func kindName(kind jsontext.Kind) string {
	switch kind {
	case 'n':
		return "null"
	case '[':
		return "an array"
	case '{':
		return "an object"
	case '"':
		return "a string"
	case '0':
		return "a number"
	}
	return "a boolean"
}

// idList is what a list holds: ids, each once and in order, and entries that cannot be ids.
type idList struct {
	ids []string
	odd int
}

func decodeList(body []byte, lax bool) (idList, error) {
	var list idList
	found := false
	err := readObject(body, lax, func(name string, dec *jsontext.Decoder) (bool, error) {
		if name != "list" {
			return false, nil
		}
		var err error
		found = true
		list, err = readIDs(dec)
		return true, err
	})
	if err == nil && !found {
		err = shapeError("the answer has no list")
	}
	if err != nil {
		return idList{}, err
	}
	if !slices.IsSortedFunc(list.ids, CompareIDs) {
		slices.SortFunc(list.ids, CompareIDs)
	}
	list.ids = slices.Compact(list.ids)
	return list, nil
}

// readIDs keeps all ids in one text and cuts them out of it: a list may hold millions. An entry that repeats the one before
// takes no room.
func readIDs(dec *jsontext.Decoder) (list idList, err error) {
	if kind := dec.PeekKind(); kind != '[' {
		return list, notThe(dec, kind, "array, where its list should be one")
	}
	if _, err := dec.ReadToken(); err != nil {
		return list, err
	}
	var text strings.Builder
	var lengths []uint16
	last := ""
	for dec.PeekKind() != ']' {
		id, err := readID(dec)
		switch {
		case err != nil:
			return list, err
		case id == "":
			list.odd++
			continue
		case id == last:
			continue
		case len(lengths) == mostIDs:
			return list, shapeError(fmt.Sprintf("the list holds more than %d ids; %s", mostIDs, laterDay))
		}
		text.WriteString(id)
		lengths = append(lengths, uint16(len(id)))
		last = id
	}
	rest := text.String()
	list.ids = make([]string, len(lengths))
	for i, length := range lengths {
		list.ids[i], rest = rest[:length], rest[length:]
	}
	_, err = dec.ReadToken()
	return list, err
}

// readID reads an entry, which is a number or a text that can be a segment of a path, and "" for anything else.
func readID(dec *jsontext.Decoder) (string, error) {
	if kind := dec.PeekKind(); kind != '0' && kind != '"' {
		return "", dec.SkipValue()
	}
	entry, err := dec.ReadToken()
	if err != nil {
		return "", err
	}
	if id := entry.String(); len(id) <= longestID {
		return id, nil
	}
	return "", nil
}

func decodeItem(body []byte, lax bool) (Item, error) {
	var objects json.RawMessage
	err := readObject(body, lax, func(name string, dec *jsontext.Decoder) (bool, error) {
		if name != "objects" {
			return false, nil
		}
		if kind := dec.PeekKind(); kind != '[' {
			return true, notThe(dec, kind, "array, where its objects should be one")
		}
		value, err := dec.ReadValue()
		if objects = json.RawMessage(value); !isOwn(body) {
			objects = bytes.Clone(objects)
		}
		return true, err
	})
	if err == nil && objects == nil {
		err = shapeError("the answer has no objects")
	}
	if err != nil {
		return Item{}, err
	}
	return Item{objects, !lax}, nil
}

func decodePage(body []byte, lax bool) (IndicatorPage, error) {
	page := IndicatorPage{More: true, Strict: !lax}
	found := false
	err := readObject(body, lax, func(name string, dec *jsontext.Decoder) (known bool, err error) {
		switch name {
		case "more":
			page.More, err = readMore(dec)
		case "objects":
			found = true
			page.Objects, err = readElements(dec, body)
		default:
			return false, nil
		}
		return true, err
	})
	if err == nil && !found {
		err = shapeError("the answer has no objects")
	}
	if err != nil {
		return IndicatorPage{}, err
	}
	return page, nil
}

// readMore reads null as true: asking once more is safe, stopping is not.
func readMore(dec *jsontext.Decoder) (bool, error) {
	value, err := dec.ReadValue()
	if err != nil {
		return false, err
	}
	switch strings.ToLower(strings.Trim(string(value), `"`)) {
	case "true", "1", "null":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, shapeError("more is neither true nor false")
}

// readElements splits an array of a body verbatim. What it returns is a part of the body where that [isOwn], else of one copy.
func readElements(dec *jsontext.Decoder, body []byte) ([]json.RawMessage, error) {
	if kind := dec.PeekKind(); kind != '[' {
		return nil, notThe(dec, kind, "array, where its objects should be one")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	begin := dec.InputOffset()
	type span struct{ from, to int64 }
	var spans []span
	for dec.PeekKind() != ']' {
		value, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		end := dec.InputOffset()
		if spans = append(spans, span{end - int64(len(value)), end}); len(spans) > mostObjects {
			return nil, shapeError(fmt.Sprintf("the answer holds more than %d objects", mostObjects))
		}
	}
	text := body[begin:dec.InputOffset()]
	if !isOwn(body) {
		text = bytes.Clone(text)
	}
	elements := make([]json.RawMessage, len(spans))
	for i, s := range spans {
		elements[i] = text[s.from-begin : s.to-begin : s.to-begin]
	}
	_, err := dec.ReadToken()
	return elements, err
}

// groupList is what the answer for groups holds: groups, and entries that are none.
type groupList struct {
	groups []Group
	odd    int
}

func decodeGroups(body []byte, lax bool) (list groupList, err error) {
	dec := newDecoder(body, lax)
	switch kind := dec.PeekKind(); kind {
	case '{':
		return list, cmp.Or(readObject(body, lax, func(string, *jsontext.Decoder) (bool, error) { return false, nil }),
			error(shapeError("the answer is an object, not an array of groups")))
	case '[':
	default:
		return list, notThe(dec, kind, "array of groups")
	}
	elements, err := readElements(dec, body)
	if err != nil {
		return list, err
	}
	if err := readEnd(dec); err != nil {
		return list, err
	}
	list.groups = make([]Group, 0, len(elements))
	for _, e := range elements {
		if g, err := decodeGroup(e, lax); err == nil {
			list.groups = append(list.groups, g)
		} else {
			list.odd++
		}
	}
	return list, nil
}

func decodeGroup(element []byte, lax bool) (g Group, err error) {
	err = readObject(element, lax, func(name string, dec *jsontext.Decoder) (bool, error) {
		var into *string
		switch name {
		case "id":
			into = &g.ID
		case "name":
			into = &g.Name
		default:
			return false, nil
		}
		if kind := dec.PeekKind(); kind != '"' && kind != '0' {
			return false, nil
		}
		text, err := dec.ReadToken()
		if err == nil {
			*into = text.String()
		}
		return true, err
	})
	return g, err
}
