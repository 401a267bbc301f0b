package transform

import "strings"

// comparison is one plain comparison of a STIX pattern: a property of an observable has a value.
type comparison struct {
	typ  string // of the observable, without OpenCTI's prefix
	path string // to the property, steps joined by dots, without quotes
	// value is what a text says, "" for any other literal and for a text that is none of STIX's.
	value string
}

// mostComparisons bounds how many alternatives are read of a pattern.
const mostComparisons = 100

// readComparisons reads a pattern of nothing but plain comparisons, any of which is enough: [a = 'x' OR b = 'y'] OR [c = 'z'].
// It appends them to list; false says that it is another one.
func readComparisons(list []comparison, pattern string) (read []comparison, ok bool) {
	p := patternReader{rest: pattern}
	for {
		if !p.skip('[') {
			return nil, false
		}
		for {
			c, ok := p.comparison()
			if list = append(list, c); !ok || len(list) > mostComparisons {
				return nil, false
			}
			if p.skip(']') {
				break
			}
			if !p.or() {
				return nil, false
			}
		}
		if p.blanks(); p.rest == "" {
			return list, true
		}
		if !p.or() {
			return nil, false
		}
	}
}

// patternReader reads the parts of a pattern from what is left of it, and what is blank before them.
type patternReader struct{ rest string }

const patternBlanks = " \t\r\n\f\v\u00a0"

func (p *patternReader) blanks() {
	if p.rest != "" && !isSeen(p.rest[0]) {
		p.rest = strings.TrimLeft(p.rest, patternBlanks)
	}
}

func (p *patternReader) skip(c byte) bool {
	p.blanks()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// or reads the word between two alternatives.
func (p *patternReader) or() bool { return p.word() == "OR" }

func (p *patternReader) comparison() (c comparison, ok bool) {
	c.typ = strings.TrimPrefix(p.word(), "x-opencti-")
	if !p.skip(':') {
		return c, false
	}
	if c.path, ok = p.path(); !ok || !p.equals() {
		return c, false
	}
	c.value, ok = p.literal()
	return c, ok
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
	end := 0
	for end < len(p.rest) && (isASCIILetter(rune(p.rest[end])) || p.rest[end] == '-' || p.rest[end] == '_') {
		end++
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

// quoted reads a text in quotes, as it is spelled.
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

// meaning is what a text in quotes says. STIX puts a backslash before a quote and before a backslash; "" for a text with
// another one, of which nobody knows what it means.
func meaning(spelled string) string {
	if !strings.Contains(spelled, `\`) {
		return spelled
	}
	var text strings.Builder
	for i := 0; i < len(spelled); i++ {
		if spelled[i] == '\\' {
			if i++; i == len(spelled) || spelled[i] != '\\' && spelled[i] != '\'' {
				return ""
			}
		}
		text.WriteByte(spelled[i])
	}
	return text.String()
}

// path reads the way to a property, which must not lead to another object. Of a step into a list the brackets stay.
func (p *patternReader) path() (path string, ok bool) {
	for {
		step := p.word()
		if step == "" {
			step, _ = p.quoted()
		}
		if step == "" || strings.HasSuffix(step, "_ref") || strings.HasSuffix(step, "_refs") {
			return "", false
		}
		path += step
		for p.skip('[') {
			if p.word() == "" && !p.skip('*') || !p.skip(']') {
				return "", false
			}
			path += "[]"
		}
		if !p.skip('.') {
			return path, true
		}
		path += "."
	}
}

// literal reads a value: a text, binary or date in quotes, a number or a truth. Only of a text it returns what it says.
func (p *patternReader) literal() (text string, ok bool) {
	p.blanks()
	if strings.HasPrefix(p.rest, "'") {
		spelled, ok := p.quoted()
		return meaning(spelled), ok && spelled != ""
	}
	if len(p.rest) > 1 && p.rest[1] == '\'' && strings.IndexByte("bht", p.rest[0]) >= 0 {
		p.rest = p.rest[1:]
		spelled, ok := p.quoted()
		return "", ok && spelled != ""
	}
	if !p.skip('-') {
		p.skip('+')
	}
	if p.word() == "" {
		return "", false
	}
	return "", !p.skip('.') || p.word() != ""
}
