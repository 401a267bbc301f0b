package fetch

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// identity is the id and the modified of an object, "" for what is not there or no text.
type identity struct {
	id, modified string
	both         string // tells the versions of all objects apart
}

func newIdentity[T string | []byte](id, modified T) identity {
	both := string(append(append(append(make([]byte, 0, 128), id...), 0), modified...)) // their parts need no room of their own
	return identity{both[:len(id)], both[len(id)+1:], both}
}

// identifier finds out the identities of objects, one after another.
type identifier struct {
	text               bytes.Buffer
	dec                *jsontext.Decoder
	name, id, modified []byte // reused
}

func newIdentifier() *identifier {
	i := new(identifier)
	i.dec = jsontext.NewDecoder(&i.text, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return i
}

func (i *identifier) identify(object []byte) identity {
	i.id, i.modified = i.id[:0], i.modified[:0]
	i.text = *bytes.NewBuffer(object)
	i.dec.Reset(&i.text, i.dec.Options())
	if i.dec.PeekKind() == '{' {
		_, _ = i.dec.ReadToken()
		for (len(i.id) == 0 || len(i.modified) == 0) && i.dec.PeekKind() == '"' && i.member() {
		}
	}
	return newIdentity(i.id, i.modified)
}

// member reads a member, and tells whether that could be done.
func (i *identifier) member() bool {
	name, err := i.dec.ReadValue()
	if err != nil {
		return false
	}
	i.name, _ = jsontext.AppendUnquote(i.name[:0], name)
	var into *[]byte
	switch string(i.name) {
	case "id":
		into = &i.id
	case "modified":
		into = &i.modified
	}
	value, err := i.dec.ReadValue()
	if err != nil {
		return false
	}
	if into != nil && value.Kind() == '"' {
		*into, _ = jsontext.AppendUnquote((*into)[:0], value)
	}
	return true
}
