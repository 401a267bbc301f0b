package description

import "unicode/utf8"

// Plain returns what a description shows where it is nothing but words: characters of which none acts in HTML or in Markdown,
// with single spaces between them, perhaps as one paragraph ("<p>…</p>"). That is what [Convert] makes of it, as Markdown and as flat
// text. ok is false for all other descriptions, which have to be converted.
func Plain(s []byte) (shown []byte, ok bool) {
	const begin, end = "<p>", "</p>"
	if n := len(s); n >= len(begin)+len(end) && string(s[:len(begin)]) == begin && string(s[n-len(end):]) == end {
		s = s[len(begin) : n-len(end)]
	}
	if len(s) == 0 || classes[s[0]]&blank != 0 || s[len(s)-1] == ' ' || beginsMore(s[0]) {
		return nil, false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case classes[c]&harmless != 0:
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRune(s[i:])
			if isGap(r) || r == utf8.RuneError {
				return nil, false
			}
			i += size - 1
		case c != ' ' || s[i-1] == ' ':
			return nil, false
		}
	}
	return s, true
}
