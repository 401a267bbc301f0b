package transform

import (
	"bytes"
	"net/url"
	"strings"
	"unicode"
)

// The functions of this file mend members over which OpenCTI's worker stumbles: it discards the whole object then. What
// cannot be mended costs the member, or the element of a list, and nothing else.

// isBlank says whether a character is one that nobody sees at the end of a name.
func isBlank(r rune) bool { return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' }

// appendTrimmed appends a text without the blanks around it, and as it is spelled when there are none.
func appendTrimmed(dst, quoted []byte) []byte {
	text := unquote(quoted)
	if trimmed := bytes.TrimFunc(text, isBlank); len(trimmed) < len(text) {
		return appendQuoted(dst, trimmed)
	}
	return append(dst, quoted...)
}

// hasText says whether a value is a text with anything in it that is seen.
func hasText(value []byte) bool {
	return isString(value) && len(bytes.TrimFunc(unquote(value), isBlank)) > 0
}

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
	seen := make(map[string]bool)
	if name := b.find("name"); isString(name) {
		seen[string(bytes.TrimFunc(unquote(name), isBlank))] = true
	}
	b.list(m, seen, func(element []byte) (fitting []byte, key string, ok bool) {
		if !hasText(element) {
			return nil, "", false
		}
		return appendTrimmed(nil, element), string(bytes.TrimFunc(unquote(element), isBlank)), true
	})
}

// phases keeps the kill chain phases that are some, each once.
func (b *builder) phases(m member) {
	b.list(m, make(map[string]bool), func(element []byte) (fitting []byte, key string, ok bool) {
		of := textsOf(element, "kill_chain_name", "phase_name")
		return element, of[0] + "\x00" + of[1], of[0] != "" && of[1] != ""
	})
}

// list keeps the elements of a list that fit, in the form and under the key that fits gives them, each key once. Without any,
// or when it is no list, the member goes.
func (b *builder) list(m member, seen map[string]bool, fit func(element []byte) (fitting []byte, key string, ok bool)) {
	s := b.s
	at := len(s.out)
	b.open(m)
	start := len(s.out)
	s.out = appendFitting(append(s.out, '['), m.value, seen, fit)
	if len(s.out) == start+1 {
		s.out = s.out[:at]
		return
	}
	s.out = append(s.out, ']')
}

func appendFitting(dst, list []byte, seen map[string]bool, fit func(element []byte) (fitting []byte, key string, ok bool)) []byte {
	elements, _ := appendElements(nil, list)
	start := len(dst)
	for _, e := range elements {
		fitting, key, ok := fit(e)
		if !ok || seen[key] {
			continue
		}
		seen[key] = true
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, fitting...)
	}
	return dst
}

// references keeps the external references that OpenCTI can follow, each once, and adds the links of the description. own is
// nil on an object that has none of its own; an empty list stays one.
func (b *builder) references(own *member) {
	s := b.s
	at := len(s.out)
	var list []byte
	if own != nil {
		b.open(*own)
		list = own.value
	} else {
		b.comma()
		s.out = append(s.out, `"external_references":`...)
	}
	s.out = append(s.out, '[')
	start := len(s.out)
	seen := make(map[string]bool)
	s.out = appendFitting(s.out, list, seen, fitReference)
	for _, link := range b.links() {
		if key := "url\x00" + link; !seen[key] {
			seen[key] = true
			if len(s.out) > start {
				s.out = append(s.out, ',')
			}
			s.out = appendReference(s.out, link)
		}
	}
	if len(s.out) == start && string(list) != "[]" {
		s.out = s.out[:at]
		return
	}
	s.out = append(s.out, ']')
}

// links are the addresses that the description leads to. Release 7.260817 of the Python connector, which dropped labels, had
// none of them; what OpenCTI keeps without external references has none either.
func (b *builder) links() []string {
	text := b.find("description")
	if b.p.labels == LabelsDropped || unmarked(b.o.Type) || !isString(text) {
		return nil
	}
	return b.s.describe.AppendLinks(nil, string(unquote(text)))
}

// appendReference appends the reference that a link is.
func appendReference(dst []byte, link string) []byte {
	dst = appendQuoted(append(dst, `{"source_name":`...), hostOf(link))
	return append(appendQuoted(append(dst, `,"url":`...), link), '}')
}

// hostOf returns the host of an address, and the address where it names none: a reference needs a source.
func hostOf(link string) string {
	if at, err := url.Parse(link); err == nil && at.Hostname() != "" {
		return strings.ToLower(at.Hostname())
	}
	return link
}

// fitReference returns an external reference as OpenCTI takes it. It tells references apart by their address, else by source
// and id there; one with neither says nothing that could be followed. OpenCTI wants texts, and refuses one without a source:
// that is the host then.
func fitReference(element []byte) (fitting []byte, key string, ok bool) {
	of := textsOf(element, "url", "source_name", "external_id")
	address, source, id := of[0], of[1], of[2]
	switch {
	case address != "":
		key = "url\x00" + address
	case source != "" && id != "":
		key = "id\x00" + source + "\x00" + id
	default:
		return nil, "", false
	}
	members, _ := appendMembers(nil, element)
	fitting = append(fitting, '{')
	for _, m := range members {
		switch string(m.name) {
		case "url", "source_name", "external_id", "description":
			if !hasText(m.value) {
				continue
			}
			m.value = appendTrimmed(nil, m.value)
		}
		fitting = append(append(append(fitting, m.quoted...), ':'), m.value...)
		fitting = append(fitting, ',')
	}
	if source == "" {
		fitting = append(appendQuoted(append(fitting, `"source_name":`...), hostOf(address)), ',')
	}
	fitting[len(fitting)-1] = '}'
	return fitting, key, true
}

// textsOf returns what some members of an object mean, "" for those that are missing, blank or no text.
func textsOf(object []byte, names ...string) []string {
	texts := make([]string, len(names))
	var room [8]member
	members, _ := appendMembers(room[:0], object)
	for _, m := range members {
		for i, name := range names {
			if string(m.name) == name && hasText(m.value) {
				texts[i] = string(bytes.TrimFunc(unquote(m.value), isBlank))
			}
		}
	}
	return texts
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
