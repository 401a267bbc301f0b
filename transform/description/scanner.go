package description

import (
	"bytes"
	"strings"
)

type kind uint8

const (
	// text is a run of characters, its references ("&amp;") not yet decoded.
	text kind = iota
	// cdata is text to be taken literally.
	cdata
	startTag
	endTag
	// hidden is what a reader never sees: comments, declarations, instructions.
	hidden
)

type token struct {
	kind kind
	// raw is the characters of a text, and the attributes of a start tag.
	raw string
	// name is the element in lower case.
	name        string
	selfClosing bool
}

// scanner splits a text into markup and characters, as a browser does, except in what counts as a tag:
//
//   - It ends with ">", and what stands between the name and that are attributes: name=value, or one of the names that HTML
//     knows without a value. At the very end of the text a tag may be cut off, but only inside its attributes.
//   - The name is one that text does not use as a placeholder ("<p>", "<td>"); or an element of HTML that comes with an
//     attribute or an end tag ("<time>" alone is a placeholder); or any name for which the text holds both tags.
//
// Everything else that begins with "<" and a letter is text.
type scanner struct {
	s   string
	pos int
	// lastClose is the last ">", so that an open end is seen without a walk to it.
	lastClose int
	// budget bounds the characters read in vain, for linear time on hostile texts: when it is used up, "<" is text.
	budget int
	// firstStart and lastEnd say where unknown names have their partners; made when the first one is met.
	firstStart, lastEnd map[string]int
}

func newScanner(s string) *scanner {
	return &scanner{s: s, lastClose: strings.LastIndexByte(s, '>'), budget: 8*len(s) + 1024}
}

// next returns the next token; ok is false at the end of the text.
func (sc *scanner) next() (t token, ok bool) {
	if sc.pos >= len(sc.s) {
		return token{}, false
	}
	from := sc.pos
	for i := from; ; {
		j := strings.IndexByte(sc.s[i:], '<')
		if j < 0 {
			sc.pos = len(sc.s)
			return token{kind: text, raw: sc.s[from:]}, true
		}
		i += j
		t, end := sc.markup(i)
		if end == 0 {
			i++
			continue
		}
		if i > from {
			sc.pos = i
			return token{kind: text, raw: sc.s[from:i]}, true
		}
		sc.pos = end
		return t, true
	}
}

// atEnd says whether the last token reached the end of the text.
func (sc *scanner) atEnd() bool { return sc.pos >= len(sc.s) }

// markup reads what begins with the "<" at i; end is 0 when that is text.
func (sc *scanner) markup(i int) (t token, end int) {
	rest := sc.s[i+1:]
	switch {
	case rest == "":
		return t, 0
	case isLetter(rest[0]):
		return sc.startTag(i)
	case rest[0] == '/' && len(rest) > 1 && isLetter(rest[1]):
		return sc.endTag(i)
	case rest[0] == '/':
		if len(rest) == 1 {
			return t, 0
		}
		return token{kind: hidden}, sc.until(i, ">")
	case strings.HasPrefix(rest, "!--"):
		return token{kind: hidden}, sc.commentEnd(i + 4)
	case strings.HasPrefix(rest, "![CDATA["):
		from := i + len("<![CDATA[")
		end := sc.until(from, "]]>")
		return token{kind: cdata, raw: strings.TrimSuffix(sc.s[from:end], "]]>")}, end
	case rest[0] == '!' || rest[0] == '?':
		return token{kind: hidden}, sc.until(i, ">")
	}
	return t, 0
}

// until returns the position behind the next mark, or the end of the text.
func (sc *scanner) until(i int, mark string) int {
	if j := strings.Index(sc.s[i:], mark); j >= 0 {
		return i + j + len(mark)
	}
	return len(sc.s)
}

// commentEnd finds "-->", or what browsers and parsers take for it ("--!>", "-- >").
func (sc *scanner) commentEnd(i int) int {
	for {
		j := strings.Index(sc.s[i:], "--")
		if j < 0 {
			return len(sc.s)
		}
		k := i + j + 2
		if k < len(sc.s) && sc.s[k] == '!' {
			k++
		} else {
			for k < len(sc.s) && isSpace(sc.s[k]) {
				k++
			}
		}
		if k < len(sc.s) && sc.s[k] == '>' {
			return k + 1
		}
		// Spaces walked over hold no dash, so the next search may start behind them.
		i = max(i+j+1, k-1)
	}
}

func (sc *scanner) startTag(i int) (t token, end int) {
	if sc.budget <= 0 {
		return t, 0
	}
	nameEnd := i + 1 + nameLen(sc.s[i+1:])
	t = token{kind: startTag, name: lower(sc.s[i+1 : nameEnd])}
	el := elements[t.name]
	a, valid := sc.attributes(nameEnd)
	if !valid || !sc.isTag(t.name, el, i, a) {
		sc.budget -= a.end - i
		return t, 0
	}
	t.raw, t.selfClosing = sc.s[nameEnd:a.end], a.selfClosing
	end = a.end
	if (t.name == "script" || t.name == "style") && !t.selfClosing {
		end = sc.rawTextEnd(end, t.name)
	}
	return t, end
}

func (sc *scanner) isTag(name string, el element, at int, a attributeList) bool {
	if !a.closed {
		return el.class == certain && a.valued
	}
	switch el.class {
	case certain:
		return true
	case ambiguous:
		return a.valued || sc.hasEndAfter(name, at)
	}
	return sc.hasEndAfter(name, at)
}

func (sc *scanner) endTag(i int) (t token, end int) {
	if sc.budget <= 0 {
		return t, 0
	}
	nameEnd := i + 2 + nameLen(sc.s[i+2:])
	t = token{kind: endTag, name: lower(sc.s[i+2 : nameEnd])}
	if elements[t.name].class == unknown {
		sc.findPartners()
		if at, ok := sc.firstStart[t.name]; !ok || at > i {
			sc.budget -= nameEnd - i
			return t, 0
		}
	}
	// Behind the name there may be anything up to ">"; but another tag, or the end of the text, shows that this one was
	// never closed.
	if nameEnd > sc.lastClose {
		if strings.TrimSpace(sc.s[nameEnd:]) != "" {
			return t, 0
		}
		return t, len(sc.s)
	}
	tail := strings.IndexAny(sc.s[nameEnd:], "<>")
	if sc.s[nameEnd+tail] == '<' {
		return t, nameEnd
	}
	return t, nameEnd + tail + 1
}

type attributeList struct {
	end         int
	closed      bool
	valued      bool
	selfClosing bool
}

// attributes reads from behind a tag's name to behind its ">". It is not valid as soon as one attribute cannot be one.
func (sc *scanner) attributes(i int) (a attributeList, valid bool) {
	s := sc.s
	if i > sc.lastClose {
		// Cut off: a name alone, with or without spaces behind it, is not enough to be a tag.
		a.end = i
		for a.end < len(s) && isSpace(s[a.end]) {
			a.end++
		}
		eq := strings.IndexByte(s[a.end:min(len(s), a.end+64)], '=')
		a.valued = eq > 0 && isAttributeName(s[a.end:a.end+eq])
		if a.valued {
			a.end = len(s)
		}
		return a, a.valued
	}
	for {
		for i < len(s) && (isSpace(s[i]) || s[i] == '/') {
			a.selfClosing = s[i] == '/'
			i++
		}
		a.end = i
		if i >= len(s) {
			return a, true
		}
		if s[i] == '>' {
			a.end, a.closed = i+1, true
			return a, true
		}
		a.selfClosing = false
		name, value, end := attribute(s, i)
		a.end = end
		if !isAttributeName(name) || (value == nil && !bareAttributes[lower(name)]) {
			return a, false
		}
		a.valued = a.valued || value != nil
		i = end
	}
}

// attribute reads one attribute; value is nil when it has none. An unclosed quote takes the rest of the text.
func attribute(s string, i int) (name string, value *string, end int) {
	from := i
	for i < len(s) && s[i] != '=' && s[i] != '>' && s[i] != '/' && !isSpace(s[i]) {
		i++
	}
	name = s[from:i]
	j := i
	for j < len(s) && isSpace(s[j]) {
		j++
	}
	if j >= len(s) || s[j] != '=' {
		return name, nil, max(i, from+1)
	}
	j++
	for j < len(s) && isSpace(s[j]) {
		j++
	}
	var v string
	if j < len(s) && (s[j] == '"' || s[j] == '\'') {
		k := strings.IndexByte(s[j+1:], s[j])
		if k < 0 {
			v = s[j+1:]
			return name, &v, len(s)
		}
		v = s[j+1 : j+1+k]
		return name, &v, j + k + 2
	}
	k := j
	for k < len(s) && s[k] != '>' && !isSpace(s[k]) {
		k++
	}
	v = s[j:k]
	return name, &v, k
}

// attr returns an attribute of a start tag, references decoded.
func (t token) attr(want string) string {
	for i := 0; i < len(t.raw); {
		if c := t.raw[i]; isSpace(c) || c == '/' || c == '>' {
			i++
			continue
		}
		name, value, end := attribute(t.raw, i)
		if value != nil && strings.EqualFold(name, want) {
			return decodeStrict(*value)
		}
		i = end
	}
	return ""
}

// rawTextEnd skips the content of a script or style together with its end tag.
func (sc *scanner) rawTextEnd(i int, name string) int {
	for {
		j := strings.Index(sc.s[i:], "</")
		if j < 0 {
			return len(sc.s)
		}
		i += j + 2
		n := nameLen(sc.s[i:])
		if n > 0 && strings.EqualFold(sc.s[i:i+n], name) {
			return sc.until(i+n, ">")
		}
	}
}

func (sc *scanner) hasEndAfter(name string, at int) bool {
	sc.findPartners()
	end, ok := sc.lastEnd[name]
	return ok && end > at
}

func (sc *scanner) findPartners() {
	if sc.firstStart != nil {
		return
	}
	sc.firstStart, sc.lastEnd = map[string]int{}, map[string]int{}
	for i := 0; ; {
		j := strings.IndexByte(sc.s[i:], '<')
		if j < 0 {
			return
		}
		at := i + j
		i = at + 1
		if i < len(sc.s) && sc.s[i] == '/' {
			if n := nameLen(sc.s[i+1:]); n > 0 {
				sc.lastEnd[lower(sc.s[i+1:i+1+n])] = at
			}
		} else if n := nameLen(sc.s[i:]); n > 0 {
			name := lower(sc.s[i : i+n])
			if _, seen := sc.firstStart[name]; !seen {
				sc.firstStart[name] = at
			}
		}
	}
}

// nameLen returns the length of the tag name at the start of s, 0 when there is none.
func nameLen(s string) int {
	if s == "" || !isLetter(s[0]) {
		return 0
	}
	i := 1
	for i < len(s) && s[i] != '>' && s[i] != '/' && s[i] != '<' && !isSpace(s[i]) {
		i++
	}
	return i
}

func isAttributeName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case isLetter(c) || c == '_' || c == ':' || c == '@':
		case i > 0 && (c == '-' || c == '.' || '0' <= c && c <= '9'):
		default:
			return false
		}
	}
	return s != ""
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f' }

func allSpace[T string | []byte](s T) bool {
	for i := range len(s) {
		if !isSpace(s[i]) {
			return false
		}
	}
	return len(s) > 0
}

// lower is strings.ToLower for ASCII: other letters never take part in a name that matters.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			return string(bytes.Map(func(r rune) rune {
				if 'A' <= r && r <= 'Z' {
					return r + 'a' - 'A'
				}
				return r
			}, b))
		}
	}
	return s
}
