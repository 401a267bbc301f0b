package description

import (
	"strings"
	"unicode/utf8"
)

// toMarkdown writes an HTML text as Markdown. It escapes lightly: letters are carried through as they are (the same text
// without a tag would be), except where Markdown would take them for markup that hides or splits them.
//
// A text without any markup is only freed of references. In a text without any block element the line ends are the
// author's own structure, so they are kept.
func toMarkdown(s string) string {
	marked, blocks := survey(s)
	if !marked {
		return string(appendDecoded(make([]byte, 0, len(s)), s, false))
	}
	w := markdownWriter{out: make([]byte, 0, len(s)), keepLines: !blocks}
	sc := newScanner(s)
	for {
		t, ok := sc.next()
		if !ok {
			break
		}
		switch t.kind {
		case text:
			w.text(t.raw)
		case cdata:
			w.literal(t.raw)
		case startTag:
			w.start(t)
			if t.selfClosing && !elements[t.name].void {
				w.end(t.name)
			}
		case endTag:
			w.end(t.name)
		}
	}
	return w.finish()
}

// survey says whether a text has markup, and whether that includes an element that makes lines.
func survey(s string) (marked, blocks bool) {
	sc := newScanner(s)
	for {
		t, ok := sc.next()
		if !ok {
			return marked, blocks
		}
		if t.kind != text {
			marked = true
			if elements[t.name].block {
				return true, true
			}
		}
	}
}

// gap is what is owed between what was written and what comes next; the larger one wins.
type gap uint8

const (
	noGap gap = iota
	hardBreak
	newLine
	blankLine
)

// maxNesting bounds the containers whose prefix every line repeats; deeper ones lie flat.
const maxNesting = 16

// markdownWriter is one walk over a text. Separators are owed, not written, until something visible follows, so that none
// is doubled or left at an end.
type markdownWriter struct {
	out       []byte
	keepLines bool
	owed      gap
	space     bool
	// heading is the level of a heading whose text has not begun.
	heading int
	// inHeading says that a heading is open: it has one line.
	inHeading bool
	spans     []span
	nest      nesting
	table     *table
	// pre collects the lines of a preformatted block; nil outside of one.
	pre []byte
	// unseen counts open elements whose text is not shown.
	unseen int
}

// begin pays what is owed; the next thing written is visible. It says whether that begins a line.
func (w *markdownWriter) begin() (lineStart bool) {
	if w.table != nil {
		w.table.enterCell(w)
		lineStart = w.table.cellIsEmpty(w)
		if !lineStart && (w.space || w.owed != noGap) {
			w.out = append(w.out, ' ')
		}
	} else {
		lineStart = w.beginLine()
		if !lineStart && w.space {
			w.out = append(w.out, ' ')
		}
	}
	w.space, w.owed = false, noGap
	for i := range w.spans {
		if w.spans[i].start < 0 {
			w.spans[i].start = len(w.out)
		}
	}
	return lineStart
}

func (w *markdownWriter) beginLine() bool {
	switch {
	case len(w.out) == 0:
		w.out = w.nest.appendPrefix(w.out)
	case w.owed == hardBreak:
		w.out = append(w.out, "  \n"...)
		w.out = w.nest.appendPrefix(w.out)
	case w.owed >= newLine:
		w.out = append(w.out, '\n')
		if w.owed == blankLine {
			w.out = w.nest.appendBlank(w.out)
			w.out = append(w.out, '\n')
		}
		w.out = w.nest.appendPrefix(w.out)
	default:
		return false
	}
	if w.heading > 0 {
		w.out = append(w.out, "######"[:w.heading]...)
		w.out = append(w.out, ' ')
		w.heading = 0
	}
	return true
}

// owe asks for a separator. Spans end with the line, since Markdown's do; what is left open begins again behind it.
func (w *markdownWriter) owe(g gap) {
	if g >= newLine && w.table == nil {
		w.interrupt(0)
	}
	w.owed = max(w.owed, g)
}

// breakLine is <br>: twice in a row it parts paragraphs.
func (w *markdownWriter) breakLine() {
	switch {
	case w.table != nil || w.inHeading:
		w.space = true
	case w.owed == hardBreak:
		w.owe(blankLine)
	default:
		if i := w.spanIndex(code); i >= 0 {
			w.interrupt(i)
		}
		w.owed = max(w.owed, hardBreak)
	}
}

func (w *markdownWriter) text(s string) {
	if w.unseen > 0 {
		return
	}
	if w.pre != nil {
		w.pre = append(w.pre, decodeStrict(s)...)
		return
	}
	inCode := w.spanIndex(code) >= 0
	for len(s) > 0 {
		n := 0
		for n < len(s) && isSpace(s[n]) {
			n++
		}
		if n > 0 {
			w.white(s[:n])
			s = s[n:]
			continue
		}
		for n < len(s) && !isSpace(s[n]) {
			n++
		}
		w.word(s[:n], inCode)
		s = s[n:]
	}
}

func (w *markdownWriter) white(s string) {
	if !w.keepLines {
		w.space = true
		return
	}
	if w.owed == hardBreak {
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			s = s[i+1:]
		}
	}
	if s == "" {
		return
	}
	w.beginLine()
	w.owed = noGap
	w.out = append(w.out, s...)
}

func (w *markdownWriter) word(s string, inCode bool) {
	lineStart := w.begin()
	from := len(w.out)
	switch {
	case strings.IndexByte(s, '&') < 0:
		w.out = append(w.out, s...)
	case inCode:
		w.out = append(w.out, oneLine(decodeStrict(s))...)
	default:
		w.out = appendDecoded(w.out, s, true)
	}
	if lineStart && !inCode && !w.keepLines && w.table == nil && isHeadingMark(w.out[from:]) {
		w.out = insert(w.out, from, `\`)
	}
	if w.table != nil {
		w.out = escapeFrom(w.out, from, "|")
	}
}

// literal writes characters that are not to be decoded.
func (w *markdownWriter) literal(s string) {
	if w.unseen > 0 {
		return
	}
	if w.pre != nil {
		w.pre = append(w.pre, s...)
		return
	}
	w.text(strings.ReplaceAll(s, "&", "&amp;"))
}

func (w *markdownWriter) finish() string {
	w.endPre()
	if w.table != nil {
		w.table.nested = 0
		w.endTable()
	}
	w.interrupt(0)
	return string(w.out)
}

// appendDecoded decodes complete references, but leaves those whose character would make markup in Markdown: "&lt;b&gt;"
// stays, "&lt; 5" and "&lt;username&gt;" do not. inLine keeps decoded line ends from breaking the line.
func appendDecoded(dst []byte, s string, inLine bool) []byte {
	for {
		i := strings.IndexByte(s, '&')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		chars, n := reference(s)
		switch {
		case n == 0:
			dst = append(dst, '&')
			n = 1
		case chars == "<" && opensElement(s[n:]), chars == "&" && completesReference(s[n:]):
			dst = append(dst, s[:n]...)
		case inLine:
			dst = append(dst, oneLine(chars)...)
		default:
			dst = append(dst, chars...)
		}
		s = s[n:]
	}
}

// opensElement says whether s, put behind a "<", could be taken for the tag of a real element, or for a comment.
func opensElement(s string) bool {
	s = strings.TrimPrefix(s, "/")
	if strings.HasPrefix(s, "!") || strings.HasPrefix(s, "?") {
		return true
	}
	n := 0
	for n < len(s) && (isLetter(s[n]) || isDigit(s[n])) {
		n++
	}
	return elements[lower(s[:n])].class != unknown
}

func completesReference(s string) bool {
	_, n := reference("&" + s[:min(len(s), maxReference+2)])
	return n > 0
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && isSpace(byte(r)) {
			return ' '
		}
		return r
	}, s)
}

func isHeadingMark(b []byte) bool {
	for _, c := range b {
		if c != '#' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 6
}

func insert(b []byte, at int, s string) []byte {
	b = append(b, s...)
	copy(b[at+len(s):], b[at:len(b)-len(s)])
	copy(b[at:], s)
	return b
}

// escapeFrom puts a backslash before each of the chars in b[from:].
func escapeFrom(b []byte, from int, chars string) []byte {
	extra := 0
	for _, c := range b[from:] {
		if strings.IndexByte(chars, c) >= 0 {
			extra++
		}
	}
	if extra == 0 {
		return b
	}
	tail := string(b[from:])
	b = b[:from]
	for i := 0; i < len(tail); i++ {
		if strings.IndexByte(chars, tail[i]) >= 0 {
			b = append(b, '\\')
		}
		b = append(b, tail[i])
	}
	return b
}
