package description

import (
	"html"
	"iter"
	"strings"

	"golang.org/x/net/html/atom"
)

// maxNesting bounds how deep elements lie in each other; deeper ones lie flat. It bounds the parser's stack, which refuses
// more than 512, and what each line of a list in a list in a list repeats at its start.
const maxNesting = 16

// maxPiece is how much is parsed at once, unless it is a single text: a tree takes up to some hundred bytes a byte. No
// description of use is longer.
const maxPiece = 256 << 10

// cleaner says a description again as HTML in which every "<" is markup, of the few elements that are rendered.
type cleaner struct {
	to         writer
	references references
	// open and flat count the open elements that were written, and those that were not because they lie too deep.
	open, flat map[atom.Atom]int
	depth      int
	// lines says that line ends are the author's own structure, since no element is. before is what stood before the token.
	lines  bool
	before atom.Atom
}

// writer takes what a cleaner says.
type writer interface {
	// text is characters, of which none is markup.
	text(s string)
	// start is a start tag; attributes are as in the description, of elements that need any.
	start(as atom.Atom, attributes string)
	end(as atom.Atom)
}

// begin begins a text.
func (c *cleaner) begin(to writer, lines bool) {
	if c.open == nil {
		c.open, c.flat = make(map[atom.Atom]int), make(map[atom.Atom]int)
	}
	clear(c.open)
	clear(c.flat)
	c.to, c.depth, c.lines, c.before = to, 0, lines, 0
}

// token takes up the next token of the text.
func (c *cleaner) token(t token) {
	switch t.kind {
	case plain:
		c.decoded(t.raw)
	case cdata:
		c.text(t.raw)
	case startTag, endTag:
		// What defines begins on a new line of the same paragraph.
		if t.kind == startTag || t.name != "dt" {
			c.tag(t.as, t.raw, t.kind == endTag)
		}
		if t.selfClosing {
			c.tag(t.as, "", true)
		}
	}
	c.before = t.as
}

// decoded takes up characters with references among them. The line end behind a break belongs to that.
func (c *cleaner) decoded(s string) {
	behindBreak := c.before == atom.Br
	for s != "" {
		var before, chars string
		before, chars, s = c.references.next(s)
		for _, part := range [...]string{before, chars} {
			if part == "" {
				continue
			}
			if behindBreak {
				part = strings.TrimPrefix(part, "\n")
				behindBreak = false
			}
			c.text(part)
		}
	}
}

func (c *cleaner) text(s string) {
	for c.lines {
		line, rest, more := strings.Cut(s, "\n")
		if !more {
			break
		}
		c.to.text(line)
		c.to.start(atom.Br, "")
		s = rest
	}
	c.to.text(s)
}

// tag says a tag as that of the element that shows the same, with the attributes of which any are needed.
func (c *cleaner) tag(as atom.Atom, attributes string, end bool) {
	switch as {
	case atom.P, atom.Li, asSpace, asQuote:
		// These do not lie in themselves: a paragraph ends the one before it.
	case 0, atom.Br, atom.Hr, atom.Img:
		if end {
			return
		}
	case atom.Td, atom.Th, atom.Tr, atom.Thead, atom.Tbody, atom.Tfoot, atom.Caption:
		if c.open[atom.Table] == 0 {
			as = asSpace
		}
	default:
		if !c.nest(as, end) {
			if !makesLines(as) {
				return
			}
			as, end = atom.P, false
		}
	}
	switch {
	case as == 0:
	case as == asSpace:
		c.to.text(" ")
	case as == asQuote:
		c.to.text(quotationMark)
	case end:
		c.to.end(as)
	default:
		c.to.start(as, attributes)
	}
}

// nest counts what lies in what, and says whether the tag is to be written.
func (c *cleaner) nest(as atom.Atom, end bool) bool {
	switch {
	case as == atom.A && !end && c.open[as] > 0:
		// It ends the one before it.
		return true
	case end && c.flat[as] > 0:
		c.flat[as]--
		return false
	case end && c.open[as] == 0:
		return false
	case end:
		c.open[as]--
		c.depth--
		return true
	case c.depth >= maxNesting || !makesLines(as) && c.open[as] > 0:
		c.flat[as]++
		return false
	}
	c.open[as]++
	c.depth++
	return true
}

// markup writes what a cleaner says as HTML.
type markup struct{ strings.Builder }

// quotationMark is what an asQuote shows.
const quotationMark = `"`

func (m *markup) text(s string) {
	if s != quotationMark { // where a text is cut goes by what is written
		s = html.EscapeString(s)
	}
	m.WriteString(s)
}

func (m *markup) start(as atom.Atom, attributes string) {
	m.WriteByte('<')
	m.WriteString(as.String())
	if as == atom.A || as == atom.Img || as == atom.Ol {
		m.WriteByte(' ')
		m.WriteString(attributes)
	}
	m.WriteByte('>')
}

func (m *markup) end(as atom.Atom) { m.WriteString("</" + as.String() + ">") }

// clean rewrites s, which has markup, in pieces that can be parsed one by one. lines says that its line ends are the author's own
// structure.
func clean(s string, lines bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		var c cleaner
		var out markup
		out.Grow(min(len(s)+len(s)/8, maxPiece))
		c.begin(&out, lines)
		for sc := newScanner(s); ; {
			t, ok := sc.next()
			if !ok {
				yield(out.String())
				return
			}
			if out.Len() > maxPiece || out.Len() > maxPiece/2 && c.depth == 0 && makesLines(t.as) {
				if !yield(out.String()) {
					return
				}
				before := c.before
				out.Reset()
				c.begin(&out, lines)
				c.before = before
			}
			c.token(t)
		}
	}
}

// survey says whether a text has markup, and whether that includes an element that makes lines.
func survey(s string) (marked, blocks bool) {
	for sc := newScanner(s); ; {
		t, ok := sc.next()
		if !ok {
			return marked, false
		}
		marked = marked || t.kind != plain
		if makesLines(t.as) {
			return true, true
		}
	}
}
