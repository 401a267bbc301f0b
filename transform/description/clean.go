package description

import (
	"html"
	"iter"
	"strings"
)

// maxNesting bounds how deep elements lie in each other; deeper ones lie flat. It bounds the parser's stack, which refuses
// more than 512, and what each line of a list in a list in a list repeats at its start.
const maxNesting = 16

// maxPiece is how much is parsed at once, unless it is a single text: a tree takes up to some hundred bytes a byte. No
// description of use is longer.
const maxPiece = 256 << 10

// cleaner writes a description as HTML in which every "<" is markup, of the few elements that are rendered.
type cleaner struct {
	out strings.Builder
	// open and flat count the open elements that were written, and those that were not because they lie too deep.
	open, flat map[string]int
	depth      int
	// lines says that line ends are the author's own structure, since no element is.
	lines bool
}

// clean rewrites s, which has markup, in pieces that can be parsed one by one. lines says that its line ends are the author's own
// structure.
func clean(s string, lines bool) iter.Seq[string] {
	return func(yield func(string) bool) {
		c := newCleaner(lines)
		c.out.Grow(min(len(s)+len(s)/8, maxPiece))
		sc := newScanner(s)
		for before := ""; ; {
			t, ok := sc.next()
			if !ok {
				yield(c.out.String())
				return
			}
			as := elements[t.name].as
			if c.out.Len() > maxPiece || c.out.Len() > maxPiece/2 && c.depth == 0 && makesLines(as) {
				if !yield(c.out.String()) {
					return
				}
				c = newCleaner(lines)
			}
			c.token(t, as, before == "br")
			before = as
		}
	}
}

func newCleaner(lines bool) cleaner {
	return cleaner{open: make(map[string]int), flat: make(map[string]int), lines: lines}
}

func (c *cleaner) token(t token, as string, afterBreak bool) {
	switch t.kind {
	case plain:
		c.text(decode(t.raw), afterBreak)
	case cdata:
		c.text(t.raw, false)
	case startTag, endTag:
		// What defines begins on a new line of the same paragraph.
		if t.kind == startTag || t.name != "dt" {
			c.tag(as, t.raw, t.kind == endTag)
		}
		if t.selfClosing {
			c.tag(as, "", true)
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
		if makesLines(elements[t.name].as) {
			return true, true
		}
	}
}

func (c *cleaner) text(s string, afterBreak bool) {
	if afterBreak {
		s = strings.TrimPrefix(s, "\n")
	}
	s = html.EscapeString(s)
	if c.lines {
		s = strings.ReplaceAll(s, "\n", "<br>")
	}
	c.out.WriteString(s)
}

// tag writes a tag as that of the element that shows the same, with the attributes of which any are needed.
func (c *cleaner) tag(as, attributes string, end bool) {
	switch as {
	case "p", "li", " ", `"`:
		// These do not lie in themselves: a paragraph ends the one before it.
	case "", "br", "hr", "img":
		if end {
			return
		}
	case "td", "th", "tr", "thead", "tbody", "tfoot", "caption":
		if c.open["table"] == 0 {
			as = " "
		}
	default:
		if !c.nest(as, end) {
			if !makesLines(as) {
				return
			}
			as, end = "p", false
		}
	}
	switch {
	case as == "" || as == " " || as == `"`:
		c.out.WriteString(as)
	case end:
		c.out.WriteString("</" + as + ">")
	case as == "a" || as == "img" || as == "ol":
		c.out.WriteString("<" + as + " " + attributes + ">")
	default:
		c.out.WriteString("<" + as + ">")
	}
}

// nest counts what lies in what, and says whether the tag is to be written.
func (c *cleaner) nest(as string, end bool) bool {
	switch {
	case as == "a" && !end && c.open[as] > 0:
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
