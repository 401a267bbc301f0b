package transform

import (
	"bytes"
	"strings"
	"unicode"

	"github.com/opencti-connectors/threatmatch/transform/description"
)

// The functions of this file mend members over which OpenCTI's worker stumbles: it discards the whole object then. What
// cannot be mended costs the member, or the element of a list, and nothing else.

// isBlank says whether a character is one that nobody sees at the end of a name.
func isBlank(r rune) bool { return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' }

// textOf returns what a text says without the blanks around it; "" when there is nothing else, nil when it is no text.
func textOf(value []byte) []byte {
	if !isString(value) {
		return nil
	}
	text := unquote(value)
	if n := len(text); n > 0 && isSeen(text[0]) && isSeen(text[n-1]) {
		return text
	}
	return bytes.TrimFunc(text, isBlank)
}

// isSeen says of most characters that they are no blanks.
func isSeen(c byte) bool { return c > ' ' && c < 0x7f }

// appendTrimmed appends a text without the blanks around it, and as it is spelled when there are none.
func appendTrimmed(dst, quoted []byte) []byte {
	if n := len(quoted); n > 2 && isSeen(quoted[1]) && quoted[1] != '\\' && isSeen(quoted[n-2]) && bytes.IndexByte(quoted, '\\') < 0 {
		return append(dst, quoted...)
	}
	text := unquote(quoted)
	if trimmed := bytes.TrimFunc(text, isBlank); len(trimmed) < len(text) {
		return appendQuoted(dst, trimmed)
	}
	return append(dst, quoted...)
}

// hasText says whether a value is a text with anything in it that is seen.
func hasText(value []byte) bool { return len(textOf(value)) > 0 }

// name keeps a name without the blanks around it; one of nothing else is none. On a file, a mutex and a value of the registry
// the name is what was seen, letter for letter.
func (b *builder) name(m member) {
	switch {
	case !isString(m.value) || b.o.Type == "file" || b.o.Type == "mutex" || b.o.Type == "windows-registry-value-type":
		b.open(m)
		b.s.out = append(b.s.out, m.value...)
	case hasText(m.value):
		b.open(m)
		b.s.out = appendTrimmed(b.s.out, m.value)
	}
}

// aliases keeps a list of other names: trimmed, each once, and not the name itself.
func (b *builder) aliases(m member) {
	seen := b.s.newKeys()
	if name := b.find("name"); isString(name) {
		seen.add(key{first: textOf(name)})
	}
	b.begin(m)
	for e := range elements(m.value) {
		if text := textOf(e); len(text) > 0 && seen.add(key{first: text}) {
			b.s.out = appendTrimmed(b.element(), e)
		}
	}
	b.endOrDrop()
}

// phases keeps the kill chain phases that are some, each once.
func (b *builder) phases(m member) {
	seen := b.s.newKeys()
	b.begin(m)
	for e := range elements(m.value) {
		var of key
		b.s.inner, _ = appendMembers(b.s.inner[:0], e)
		for _, m := range b.s.inner {
			switch string(m.name) {
			case "kill_chain_name":
				of.first = textOf(m.value)
			case "phase_name":
				of.second = textOf(m.value)
			}
		}
		if len(of.first) > 0 && len(of.second) > 0 && seen.add(of) {
			b.s.out = append(b.element(), e...)
		}
	}
	b.endOrDrop()
}

// references keeps the external references that OpenCTI can follow, each once, and adds the links of the description. own is
// nil on an object that has none of its own; an empty list stays one.
func (b *builder) references(own *member) {
	s, links, list := b.s, b.links(), []byte(nil)
	seen := s.newKeys()
	switch {
	case own != nil:
		list = own.value
		b.open(*own)
	case len(links) == 0:
		return
	default:
		b.openNamed("external_references")
	}
	b.beginList()
	for e := range elements(list) {
		b.reference(e, seen)
	}
	s.plain = s.plain[:0]
	for _, link := range links {
		at := len(s.plain)
		s.plain = append(s.plain, link...)
		if seen.add(key{first: s.plain[at:]}) {
			s.out = appendReference(b.element(), link)
		}
	}
	if string(list) == "[]" {
		s.out = append(s.out, ']')
		return
	}
	b.endOrDrop()
}

// appendReference appends the reference that a link is.
func appendReference(dst []byte, link string) []byte {
	dst = appendQuoted(append(dst, `{"source_name":`...), hostOf(link))
	return append(appendQuoted(append(dst, `,"url":`...), link), '}')
}

// hostOf returns the host of an address, and the address where it names none: a reference needs a source.
func hostOf(link string) string {
	if host, ok := description.Host(link); ok {
		return strings.ToLower(host)
	}
	return link
}

// reference writes an external reference as OpenCTI takes it, if it was not seen. It tells references apart by their address,
// else by source and id there; one with neither says nothing that could be followed. OpenCTI wants texts, and refuses one without
// a source: that is the host then.
func (b *builder) reference(element []byte, seen *keySet) {
	s := b.s
	var address, source, id []byte
	s.inner, _ = appendMembers(s.inner[:0], element)
	for _, m := range s.inner {
		switch string(m.name) {
		case "url":
			address = textOf(m.value)
		case "source_name":
			source = textOf(m.value)
		case "external_id":
			id = textOf(m.value)
		}
	}
	k := key{first: address}
	switch {
	case len(address) > 0:
	case len(source) > 0 && len(id) > 0:
		k = key{first: source, second: id}
	default:
		return
	}
	if !seen.add(k) {
		return
	}
	s.out = append(b.element(), '{')
	for _, m := range s.inner {
		switch string(m.name) {
		case "url", "source_name", "external_id", "description":
			if !hasText(m.value) {
				continue
			}
			s.out = append(appendTrimmed(append(append(s.out, m.quoted...), ':'), m.value), ',')
		default:
			s.out = appendMember(s.out, m)
		}
	}
	if len(source) == 0 {
		s.out = append(appendQuoted(append(s.out, `"source_name":`...), hostOf(string(address))), ',')
	}
	s.out[len(s.out)-1] = '}'
}

// find returns the value of one of the source's members, nil when there is none of that name or when it is null.
func (b *builder) find(name string) []byte {
	for _, m := range b.s.members {
		if string(m.name) == name && !isNull(m.value) {
			return m.value
		}
	}
	return nil
}
