package description

import (
	"strings"

	"golang.org/x/net/html"
)

// attribute is where one stands in a tag: its name, and its value up to the end, if it has one.
type attribute struct {
	from, nameEnd, value, end int
	valued                    bool
}

// readAttribute reads the attribute at a place, with what parts it from what stands before it. An unclosed quote takes the rest
// of the text.
func readAttribute(s string, at int) (a attribute, ok bool) {
	for at < len(s) && (isSpace(s[at]) || s[at] == '/') {
		at++
	}
	if at == len(s) || !beginsName(s[at]) {
		return a, false
	}
	a.from = at
	for at < len(s) && (beginsName(s[at]) || isDigit(s[at]) || s[at] == '.' || s[at] == '-') {
		at++
	}
	a.nameEnd, a.end = at, at
	if at = skipSpace(s, at); at == len(s) || s[at] != '=' {
		return a, true
	}
	at = skipSpace(s, at+1)
	a.valued, a.value, a.end = true, at, at
	switch {
	case at == len(s):
	case s[at] == '"' || s[at] == '\'':
		if n := strings.IndexByte(s[at+1:], s[at]); n >= 0 {
			a.end = at + 1 + n + 1
		} else {
			a.end = len(s)
		}
	default:
		for a.end < len(s) && !isSpace(s[a.end]) && s[a.end] != '>' {
			a.end++
		}
	}
	return a, true
}

func beginsName(c byte) bool { return isLetter(c) || c == '_' || c == ':' || c == '@' }

func skipSpace(s string, at int) int {
	for at < len(s) && isSpace(s[at]) {
		at++
	}
	return at
}

// plainValue returns the value of an attribute, "" for none, in what a start tag has behind its name. plain says that there is
// nothing of which only a parser of HTML knows what it means: values are whole, and without references but for the "&amp;" of
// addresses.
func plainValue(attributes, name string) (value string, plain bool) {
	found := false
	for at := 0; ; {
		a, ok := readAttribute(attributes, at)
		if !ok {
			return value, true
		}
		if strings.IndexByte(attributes[at:a.from], '/') >= 0 {
			return "", false
		}
		this, plain := "", true
		if a.valued {
			this, plain = unquoted(attributes[a.value:a.end])
		}
		if !plain {
			return "", false
		}
		if !found && strings.EqualFold(attributes[a.from:a.nameEnd], name) {
			value, found = this, true
		}
		at = a.end
	}
}

// unquoted returns a value that stands between quotes, or is one word.
func unquoted(value string) (s string, plain bool) {
	switch {
	case value == "":
		return "", false
	case value[0] == '"' || value[0] == '\'':
		if len(value) < 2 || value[len(value)-1] != value[0] {
			return "", false
		}
		value = value[1 : len(value)-1]
	}
	if strings.IndexByte(value, '\r') >= 0 || strings.IndexByte(value, 0) >= 0 {
		return "", false
	}
	if n := strings.Count(value, "&"); n > 0 {
		if n != strings.Count(value, "&amp;") {
			return "", false
		}
		value = strings.ReplaceAll(value, "&amp;", "&")
	}
	return value, true
}

// valueOf returns the value of an attribute as a browser reads it, "" for none.
func valueOf(attributes, name string) string {
	if value, plain := plainValue(attributes, name); plain {
		return value
	}
	tag := html.NewTokenizer(strings.NewReader("<a " + attributes + ">"))
	tag.Next()
	return attr(&html.Node{Attr: tag.Token().Attr}, name)
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
