package transform

import (
	"bytes"
	"strings"
)

const observableTypeKey = "x_opencti_main_observable_type"

// openctiExtension is the extension under which OpenCTI itself writes what STIX has no property for.
const openctiExtension = "extension-definition--ea279b3e-5c71-4632-ac08-831c66a786ba"

// observableTypes are OpenCTI's names for the types of observables, by what a pattern calls them. It refuses an indicator
// about a type that it does not have, so the newest ones (persona, ssh-key, …) are not among them.
var observableTypes = func() map[string]string {
	m := make(map[string]string, 40)
	for name := range strings.FieldsSeq(`Autonomous-System Directory Domain-Name Email-Addr Email-Message Email-Mime-Part-Type Artifact
		X509-Certificate IPv4-Addr IPv6-Addr Mac-Addr Mutex Network-Traffic Process Software Url User-Account Windows-Registry-Key
		Windows-Registry-Value-Type Hostname Cryptographic-Key Cryptocurrency-Wallet Text User-Agent Bank-Account Phone-Number
		Credential Tracking-Number Payment-Card Media-Content`) {
		m[strings.ToLower(name)] = name
	}
	m["file"] = "StixFile"
	return m
}()

// givesObservableType says whether an indicator says itself which type of observable it is about; a blank says nothing.
func (b *builder) givesObservableType() bool {
	if hasText(b.find(observableTypeKey)) {
		return true
	}
	members, _ := appendMembers(nil, b.find("extensions"))
	for _, m := range members {
		if string(m.name) == openctiExtension {
			return textsOf(m.value, "main_observable_type")[0] != ""
		}
	}
	return false
}

// observableType adds the type of observable that an indicator is about, which OpenCTI does not read from the pattern. With
// [LabelsDropped] it is left out like all that release 7.260817 of the Python connector did not send.
func (b *builder) observableType() {
	if b.o.Type != "indicator" || b.p.labels == LabelsDropped || b.givesObservableType() {
		return
	}
	pattern, language := b.find("pattern"), b.find("pattern_type")
	if !isString(pattern) || !isString(language) || !strings.EqualFold(string(bytes.TrimFunc(unquote(language), isBlank)), "stix") {
		return
	}
	if typ := observableTypeOf(string(unquote(pattern))); typ != "" {
		b.comma()
		b.s.out = appendQuoted(append(b.s.out, `"`+observableTypeKey+`":`...), typ)
	}
}

// observableTypeOf returns OpenCTI's type of the observable that a STIX pattern is about, "" unless the pattern is one plain
// comparison of one of its own properties with one value: [type:path = 'value'].
func observableTypeOf(pattern string) string {
	p := patternReader{rest: pattern}
	if !p.skip('[') {
		return ""
	}
	typ := p.word()
	if !p.skip(':') || !p.path() || !p.equals() || !p.literal() || !p.skip(']') || strings.TrimLeft(p.rest, patternBlanks) != "" {
		return ""
	}
	return observableTypes[strings.TrimPrefix(typ, "x-opencti-")]
}

// patternReader reads the parts of a pattern from what is left of it, and what is blank before them.
type patternReader struct{ rest string }

const patternBlanks = " \t\r\n\f\v\u00a0"

func (p *patternReader) blanks() { p.rest = strings.TrimLeft(p.rest, patternBlanks) }

func (p *patternReader) skip(c byte) bool {
	p.blanks()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// equals reads the sign of equality, of which STIX has two.
func (p *patternReader) equals() bool {
	if !p.skip('=') {
		return false
	}
	p.rest = strings.TrimPrefix(p.rest, "=")
	return true
}

// word reads a name without quotes, or a number.
func (p *patternReader) word() string {
	p.blanks()
	end := strings.IndexFunc(p.rest, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

// quoted reads a text in quotes.
func (p *patternReader) quoted() (text string, ok bool) {
	p.blanks()
	if !strings.HasPrefix(p.rest, "'") {
		return "", false
	}
	for i := 1; i < len(p.rest); i++ {
		switch p.rest[i] {
		case '\\':
			i++
		case '\'':
			text, p.rest = p.rest[1:i], p.rest[i+1:]
			return text, true
		}
	}
	return "", false
}

// path reads the way to a property, which must not lead to another object.
func (p *patternReader) path() bool {
	for {
		step := p.word()
		if step == "" {
			step, _ = p.quoted()
		}
		if step == "" || strings.HasSuffix(step, "_ref") || strings.HasSuffix(step, "_refs") {
			return false
		}
		for p.skip('[') {
			if p.word() == "" && !p.skip('*') || !p.skip(']') {
				return false
			}
		}
		if !p.skip('.') {
			return true
		}
	}
}

// literal reads a value: a text, binary or date in quotes, a number or a truth.
func (p *patternReader) literal() bool {
	p.blanks()
	for _, kind := range []string{"", "b", "h", "t"} {
		if strings.HasPrefix(p.rest, kind+"'") {
			p.rest = p.rest[len(kind):]
			text, ok := p.quoted()
			return ok && text != ""
		}
	}
	if !p.skip('-') {
		p.skip('+')
	}
	if p.word() == "" {
		return false
	}
	return !p.skip('.') || p.word() != ""
}
