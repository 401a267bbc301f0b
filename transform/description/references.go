package description

import (
	"html"
	"strings"
)

// references decodes references such as "&amp;", complete ones only, so that "?a=1&copy=2" in an address stays.
type references struct {
	// known are some that were met before.
	known map[string]string
}

// mostReferences bounds those that are kept, which have longestKept bytes at most: all that have a name.
const (
	mostReferences = 256
	longestKept    = 40
)

// next splits a text at its first complete reference, and decodes that; chars is "" where there is none.
func (r *references) next(s string) (before, chars, rest string) {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '&')
		if i < 0 {
			return s, "", ""
		}
		at := from + i
		if n := referenceAt(s[at:]); n > 0 {
			return s[:at], r.decoded(s[at : at+n]), s[at+n:]
		}
		from = at + 1
	}
}

// decoded decodes a reference; one that means nothing stays.
func (r *references) decoded(ref string) string {
	chars, known := r.known[ref]
	if known {
		return chars
	}
	chars = html.UnescapeString(ref)
	if ref != "&semi;" && strings.HasSuffix(chars, ";") {
		chars = ref
	}
	if len(ref) > longestKept {
		return chars
	}
	if r.known == nil || len(r.known) == mostReferences {
		r.known = make(map[string]string)
	}
	r.known[strings.Clone(ref)] = strings.Clone(chars)
	return chars
}

// referenceAt returns the length of the complete reference at the beginning of a text, 0 without one.
func referenceAt[T string | []byte](s T) int {
	if len(s) < 3 || s[0] != '&' {
		return 0
	}
	i, most, fits := 1, len(s), func(c byte) bool { return isLetter(c) || isDigit(c) }
	switch {
	case isLetter(s[1]):
		most = min(most, 1+32)
	case s[1] == '#' && s[2]|0x20 == 'x':
		i, fits = 3, isHexDigit
	case s[1] == '#':
		i, fits = 2, isDigit
	default:
		return 0
	}
	from := i
	for i < most && fits(s[i]) {
		i++
	}
	least := 1
	if isLetter(s[1]) {
		least = 2
	}
	if i == len(s) || s[i] != ';' || i-from < least {
		return 0
	}
	return i + 1
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHexDigit(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// decode decodes the references of a text.
func decode(s string) string {
	if strings.IndexByte(s, '&') < 0 {
		return s
	}
	var r references
	var out strings.Builder
	for rest := s; rest != ""; {
		var before, chars string
		before, chars, rest = r.next(rest)
		out.WriteString(before)
		out.WriteString(chars)
	}
	return out.String()
}
