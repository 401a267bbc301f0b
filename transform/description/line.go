package description

import (
	"strings"
	"unicode/utf8"
)

// style is how a piece of a line is shown. Its marks nest in the order of the fields.
type style struct {
	href                  string
	del, strong, em, code bool
}

// both returns what two styles have in common, from the outermost mark on: the style of white space between them.
func (s style) both(o style) style {
	switch {
	case s == o:
		return s
	case s.href != o.href:
		return style{}
	case s.del != o.del:
		return style{href: s.href}
	case s.strong != o.strong:
		return style{href: s.href, del: s.del}
	}
	return style{href: s.href, del: s.del, strong: s.strong, em: s.em && o.em}
}

// span is a piece of a line that is shown in one style.
type span struct {
	from, to int
	style    style
	// raw says that the text is finished Markdown.
	raw bool
}

// line collects the text of a paragraph. White space is owed, not written, until something visible follows: Markdown does
// not take "**" for a mark where it touches white space. A "\n" is a line break.
type line struct {
	text  []byte
	spans []span
	gap   string
	// holds says which classes of characters there are in the text.
	holds class
}

// clear empties the line, whose room it keeps.
func (l *line) clear() {
	clear(l.spans)
	*l = line{text: l.text[:0], spans: l.spans[:0]}
}

// space owes white space, of which HTML shows no more than one.
func (l *line) space() {
	if !strings.HasSuffix(l.gap, " ") && !strings.HasSuffix(l.gap, "\n") {
		l.gap += " "
	}
}

// breakLine begins a line; twice says that the one before it was empty, which parts paragraphs.
func (l *line) breakLine() (twice bool) {
	twice = strings.HasPrefix(l.gap, "\n")
	l.gap = "\n"
	return twice
}

// write adds text.
func (l *line) write(s string, st style) {
	for s != "" {
		n, holds := unbroken(s)
		switch {
		case n > 0:
			l.holds |= holds
			l.add(s[:n], st, false)
		case s[0] < utf8.RuneSelf:
			l.space()
			n = 1
		default:
			_, n = utf8.DecodeRuneInString(s)
			l.gap += s[:n]
		}
		s = s[n:]
	}
}

// unbroken returns the length of the words at the beginning of a text between which there are single spaces, as in the line, and
// what is in them. It is 0 where the text begins with white space.
func unbroken(s string) (end int, holds class) {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if isGap(r) {
				return end, holds
			}
			i += size
			end = i
		case classes[c]&blank == 0:
			holds |= classes[c]
			i++
			end = i
		case c == ' ' && i > 0 && end == i:
			i++
		default:
			return end, holds
		}
	}
	return end, holds
}

// add adds text in which there is no white space to be lost.
func (l *line) add(s string, st style, raw bool) {
	if n := len(l.spans); n > 0 && l.gap != "" {
		gap := l.spans[n-1].style.both(st)
		switch {
		case l.gap == "\n":
			gap.code = false
			l.append("  \n", gap, true)
		case l.gap[0] == '\n':
			gap.code = false
			l.append("  "+l.gap, gap, true)
		default:
			l.append(l.gap, gap, false)
		}
	}
	l.gap = ""
	l.append(s, st, raw)
}

func (l *line) append(s string, st style, raw bool) {
	from := len(l.text)
	l.text = append(l.text, s...)
	if n := len(l.spans); n > 0 && l.spans[n-1].style == st && !raw && !l.spans[n-1].raw {
		l.spans[n-1].to = len(l.text)
	} else {
		l.spans = append(l.spans, span{from: from, to: len(l.text), style: st, raw: raw})
	}
}
