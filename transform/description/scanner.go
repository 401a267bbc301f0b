package description

import (
	"regexp"
	"strings"

	"golang.org/x/net/html/atom"
)

type kind uint8

const (
	// plain is a run of characters, its references ("&amp;") not yet decoded.
	plain kind = iota
	// cdata is text to be taken literally.
	cdata
	startTag
	endTag
	// hidden is what a reader never sees: comments, declarations, scripts and styles.
	hidden
)

type token struct {
	kind kind
	// raw is the characters of a text, and the attributes of a start tag.
	raw string
	// name is the element in lower case, and as what is shown in its place, see [element].
	name        string
	as          atom.Atom
	selfClosing bool
}

// scanner splits a text into markup and characters, as a browser does, except in what counts as a tag:
//
//   - It ends with ">", and what stands between the name and that are attributes: name=value, or a name that HTML knows. At
//     the very end of the text a tag may be cut off, but only inside its attributes.
//   - The name is one that text does not use as a placeholder ("<p>", "<td>"); or an element of HTML that comes with an
//     attribute or an end tag ("<time>" alone is a placeholder); or any name for which the text holds both tags.
//
// Everything else that begins with "<" and a letter is text.
type scanner struct {
	s   string
	pos int
	// budget bounds the characters read in vain, for linear time on hostile texts: when it is used up, "<" is text.
	budget int
	// firstStart and lastEnd say where names have their partners, once partnersFound.
	firstStart, lastEnd map[string]int
	partnersFound       bool
}

func newScanner(s string) *scanner {
	sc := new(scanner)
	sc.begin(s)
	return sc
}

// begin begins another text, with the room that the one before it has left.
func (sc *scanner) begin(s string) {
	clear(sc.firstStart)
	clear(sc.lastEnd)
	*sc = scanner{s: s, budget: 8*len(s) + 1024, firstStart: sc.firstStart, lastEnd: sc.lastEnd}
}

// commentEnd is what ends a comment for a browser or for a lenient parser.
var commentEnd = regexp.MustCompile(`--(!|\s*)>`)

// next returns the next token; ok is false at the end of the text.
func (sc *scanner) next() (t token, ok bool) {
	from := sc.pos
	for i := from; ; i++ {
		j := strings.IndexByte(sc.s[i:], '<')
		if j < 0 {
			sc.pos = len(sc.s)
			return token{raw: sc.s[from:]}, from < len(sc.s)
		}
		i += j
		if t, end := sc.markup(i); end > 0 {
			if i > from {
				sc.pos = i
				return token{raw: sc.s[from:i]}, true
			}
			sc.pos = end
			return t, true
		}
	}
}

// markup reads what begins with the "<" at i; end is 0 when that is text.
func (sc *scanner) markup(i int) (t token, end int) {
	rest := sc.s[i+1:]
	switch {
	case rest == "" || rest == "/" || sc.budget <= 0:
		return t, 0
	case isLetter(rest[0]):
		return sc.startTag(i)
	case rest[0] == '/' && isLetter(rest[1]):
		return sc.endTag(i)
	case strings.HasPrefix(rest, "!--"):
		if at := commentEnd.FindStringIndex(rest[3:]); at != nil {
			return token{kind: hidden}, i + 4 + at[1]
		}
		return token{kind: hidden}, len(sc.s)
	case strings.HasPrefix(rest, "![CDATA["):
		from := i + len("<![CDATA[")
		end := sc.until(from, "]]>")
		return token{kind: cdata, raw: strings.TrimSuffix(sc.s[from:end], "]]>")}, end
	case rest[0] == '/' || rest[0] == '!' || rest[0] == '?':
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

func (sc *scanner) startTag(i int) (t token, end int) {
	nameEnd := sc.nameEnd(i + 1)
	t = token{kind: startTag, name: strings.ToLower(sc.s[i+1 : nameEnd])}
	known := elements[t.name]
	last, valued, valid := nameEnd, false, true
	for valid && last < len(sc.s) && sc.s[last] != '>' {
		a, ok := readAttribute(sc.s, last)
		if !ok {
			break
		}
		valued = valued || a.valued
		valid = a.valued || isKnown(strings.ToLower(sc.s[a.from:a.nameEnd]))
		last = a.end
	}
	t.raw = sc.s[nameEnd:last]
	for end = last; end < len(sc.s) && (isSpace(sc.s[end]) || sc.s[end] == '/'); end++ {
		t.selfClosing = sc.s[end] == '/'
	}
	closed := end < len(sc.s) && sc.s[end] == '>'
	if !valid || !closed && end < len(sc.s) || !sc.isTag(t.name, known.certain, i, valued, closed) {
		sc.budget -= end - i
		return t, 0
	}
	if closed {
		end++
	}
	if known.raw && !t.selfClosing {
		return token{kind: hidden}, sc.rawTextEnd(end, t.name)
	}
	t.as = known.as
	return t, end
}

// nameEnd returns where a tag's name ends.
func (sc *scanner) nameEnd(i int) int {
	for i < len(sc.s) && !isSpace(sc.s[i]) && sc.s[i] != '/' && sc.s[i] != '<' && sc.s[i] != '>' {
		i++
	}
	return i
}

// isKnown says whether HTML knows a name, of an element or of an attribute.
func isKnown(name string) bool {
	var room [32]byte
	return atom.Lookup(append(room[:0], name...)) != 0
}

func (sc *scanner) isTag(name string, certain bool, at int, valued, closed bool) bool {
	switch {
	case !closed:
		return certain && valued
	case certain || valued && isKnown(name):
		return true
	}
	sc.findPartners()
	return sc.lastEnd[name] > at
}

func (sc *scanner) endTag(i int) (t token, end int) {
	nameEnd := sc.nameEnd(i + 2)
	t = token{kind: endTag, name: strings.ToLower(sc.s[i+2 : nameEnd])}
	if !isKnown(t.name) {
		sc.findPartners()
		if at, ok := sc.firstStart[t.name]; !ok || at > i {
			return t, 0
		}
	}
	t.as = elements[t.name].as
	// Behind the name there may be anything up to ">"; but another tag, or the end of the text, shows that this one was
	// never closed.
	switch tail := strings.IndexAny(sc.s[nameEnd:], "<>"); {
	case tail < 0 && strings.TrimSpace(sc.s[nameEnd:]) != "":
		return t, 0
	case tail < 0:
		return t, len(sc.s)
	case sc.s[nameEnd+tail] == '<':
		return t, nameEnd
	default:
		return t, nameEnd + tail + 1
	}
}

// rawTextEnd skips the content of an element that is no markup, together with its end tag.
func (sc *scanner) rawTextEnd(i int, name string) int {
	for i < len(sc.s) {
		i = sc.until(i, "</")
		if n := min(i+len(name), len(sc.s)); strings.EqualFold(sc.s[i:n], name) {
			return sc.until(n, ">")
		}
	}
	return i
}

// findPartners looks at all that could be a tag.
func (sc *scanner) findPartners() {
	if sc.partnersFound {
		return
	}
	sc.partnersFound = true
	if sc.firstStart == nil {
		sc.firstStart, sc.lastEnd = make(map[string]int), make(map[string]int)
	}
	for i := 0; ; {
		next := strings.IndexByte(sc.s[i:], '<')
		if next < 0 {
			return
		}
		at := i + next
		from := at + 1
		ends := from < len(sc.s) && sc.s[from] == '/'
		if ends {
			from++
		}
		if i = from; from == len(sc.s) || !isLetter(sc.s[from]) {
			continue
		}
		i = sc.nameEnd(from)
		name := strings.ToLower(sc.s[from:i])
		if ends {
			sc.lastEnd[name] = at
		} else if _, seen := sc.firstStart[name]; !seen {
			sc.firstStart[name] = at
		}
	}
}
