package description

import (
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxReference bounds a reference's name; the longest that HTML knows has 31 letters.
const maxReference = 40

// named returns the characters of a named reference, without its "&" and ";".
func named(name string) (string, bool) {
	switch name {
	case "amp":
		return "&", true
	case "lt":
		return "<", true
	case "gt":
		return ">", true
	case "quot":
		return `"`, true
	case "nbsp":
		return "\u00a0", true
	case "semi":
		return ";", true
	}
	if len(name) > maxReference {
		return "", false
	}
	// A name that is known whole leaves no semicolon behind; one known by its beginning only ("notit") does.
	s := html.UnescapeString("&" + name + ";")
	if strings.HasSuffix(s, ";") {
		return "", false
	}
	return s, true
}

// windows1252 is what the numbers 128 to 159 mean in HTML; 0 where they mean themselves.
var windows1252 = [32]rune{
	'€', 0, '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', 0, 'Ž', 0,
	0, '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', 0, 'ž', 'Ÿ',
}

// numbered returns the character of a numeric reference, given what stands behind "&#": digits, or x and hex digits.
func numbered(digits string) rune {
	base := 10
	if digits != "" && digits[0]|0x20 == 'x' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	switch {
	case err != nil || n == 0 || n > utf8.MaxRune || !utf8.ValidRune(rune(n)):
		return utf8.RuneError
	case n >= 128 && n < 160 && windows1252[n-128] != 0:
		return windows1252[n-128]
	}
	return rune(n)
}

// numberLen returns the length of "123" or "x1F" at the start of s, 0 when there is none.
func numberLen(s string) int {
	i, hex := 0, false
	if s != "" && s[0]|0x20 == 'x' {
		i, hex = 1, true
	}
	from := i
	for i < len(s) && (isDigit(s[i]) || hex && isHexLetter(s[i])) {
		i++
	}
	if i == from {
		return 0
	}
	return i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHexLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'f' }

// reference reads a complete reference, from its "&" at the start of s to its ";". length is 0 when there is none.
func reference(s string) (chars string, length int) {
	if len(s) < 3 {
		return "", 0
	}
	if s[1] == '#' {
		n := numberLen(s[2:])
		if n == 0 || 2+n >= len(s) || s[2+n] != ';' {
			return "", 0
		}
		return string(numbered(s[2 : 2+n])), n + 3
	}
	n := 1
	for n < len(s) && n <= maxReference && (isLetter(s[n]) || isDigit(s[n])) {
		n++
	}
	if n == 1 || n >= len(s) || s[n] != ';' {
		return "", 0
	}
	chars, ok := named(s[1:n])
	if !ok {
		return "", 0
	}
	return chars, n + 1
}

// decodeStrict decodes complete references only, so that "?a=1&copy=2" in an address stays.
func decodeStrict(s string) string {
	if strings.IndexByte(s, '&') < 0 {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		s = s[i:]
		if chars, n := reference(s); n > 0 {
			b.WriteString(chars)
			s = s[n:]
		} else {
			b.WriteByte('&')
			s = s[1:]
		}
	}
}
