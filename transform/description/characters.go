package description

import (
	"html"
	"regexp"
	"strings"
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

// references are complete ones.
var references = regexp.MustCompile(`&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]{1,31});`)

// startsReference is a complete one at the beginning of a text.
var startsReference = regexp.MustCompile("^" + references.String())

// decode decodes complete references only, so that "?a=1&copy=2" in an address stays.
func decode(s string) string {
	if strings.IndexByte(s, '&') < 0 {
		return s
	}
	return references.ReplaceAllStringFunc(s, func(ref string) string {
		if chars := html.UnescapeString(ref); ref == "&semi;" || !strings.HasSuffix(chars, ";") {
			return chars
		}
		return ref
	})
}
