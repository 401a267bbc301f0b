package threatmatch

import "bytes"

// mostNested is how deep what is read may be nested: far less than the reader of JSON takes, whose limit costs the whole answer, and
// far more than anything that can be imported.
const mostNested = 1000

// flatten empties, in place, the arrays and objects of a text that stand within more than mostNested others, and tells whether there
// are any. What they belong to is still recognized then, and as too deep. It takes a text that is not JSON as well.
func flatten(text []byte) (flat []byte, deep bool) {
	flat = text[:0]
	depth, from := 0, 0 // from is where that begins which is to be kept
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = endOfString(text, i)
		case '[', '{':
			if depth++; depth == mostNested+1 {
				flat, deep = append(flat, text[from:i+1]...), true
				from = len(text)
			}
		case ']', '}':
			if depth == mostNested+1 {
				from = i
			}
			depth--
		}
	}
	return append(flat, text[from:]...), deep
}

// endOfString returns where the string ends that begins at i: its last quote, or the end of the text.
func endOfString(text []byte, i int) int {
	for i++; ; i++ {
		n := bytes.IndexAny(text[min(i, len(text)):], `"\`)
		if n < 0 {
			return len(text)
		}
		if i += n; text[i] == '"' {
			return i
		}
		i++ // what is escaped
	}
}
