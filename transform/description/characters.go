package description

import (
	"unicode"
	"unicode/utf8"
)

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' }

func isPunct(c byte) bool { return c > ' ' && c < 0x7f && !isLetter(c) && (c < '0' || c > '9') }

// isGap says whether a character is white space for Markdown.
func isGap(r rune) bool {
	return r < utf8.RuneSelf && (isSpace(byte(r)) || r == '\v') || r >= utf8.RuneSelf && unicode.Is(unicode.Zs, r)
}

// isWord says whether a character is neither white space nor punctuation for Markdown.
func isWord(r rune) bool { return !isGap(r) && !unicode.IsPunct(r) && !unicode.IsSymbol(r) }

// mayBeWord says so of symbols such as emoji too, which readers of Markdown do not agree on.
func mayBeWord(r rune) bool { return isWord(r) || r >= utf8.RuneSelf && unicode.IsSymbol(r) }

func isMark(c byte) bool { return c == '*' || c == '_' || c == '~' || c == '`' }

// class tells characters apart by what they can do in a line; a set of classes is their sum.
type class uint8

const (
	// blank is white space, as far as it is ASCII.
	blank class = 1 << iota
	// marking characters mark at both ends.
	marking
	// acting characters may do something else.
	acting
	// mailing, linking and pointing characters are in what becomes a link without being marked as one.
	mailing
	linking
	pointing
	// harmless characters do nothing inside a line, in HTML neither: of ASCII all from the blank on that neither mark nor act. Some
	// of them do at a line's beginning.
	harmless
)

var classes = func() (of [256]class) {
	for set, chars := range map[class]string{
		blank: " \n\t\r\f\v", marking: "*_~`", acting: `\<&[]!@`, mailing: "@", linking: ":", pointing: ".",
	} {
		for i := range len(chars) {
			of[chars[i]] |= set
		}
	}
	for c := '!'; c < utf8.RuneSelf; c++ {
		if of[c]&(marking|acting) == 0 {
			of[c] |= harmless
		}
	}
	return of
}()

// classesOf returns all that are in a text.
func classesOf(s []byte) (all class) {
	for _, c := range s {
		all |= classes[c]
	}
	return all
}
