package emit

import "unicode/utf8"

// reportedWhole is the length from which on a worker says "Bundle too large" in place of the text of an object that it could
// not import.
const reportedWhole = 50_000

// mayBeLarge says that an object's text may be so long once a worker has written it: with a blank after each comma and colon,
// all that is not ASCII escaped, numbers in Python's spelling, and members of its own. It rather counts too much.
func mayBeLarge(text []byte) bool {
	const (
		workersOwn = 1000
		escaped    = 6 // of a character, 12 of one beyond the basic plane
	)
	if (escaped*len(text))+workersOwn < reportedWhole {
		return false
	}
	n := workersOwn + len(text)/20
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		i += size
		switch {
		case r == ',' || r == ':':
			n += 2
		case r < utf8.RuneSelf && r != 0x7f:
			n++
		case r > 0xffff:
			n += 2 * escaped
		default:
			n += escaped
		}
	}
	return n >= reportedWhole
}
