package description

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// mark begins or ends a style: "[" a link, "](" its address.
type mark struct{ text, href string }

// marks are some of a line, the first ones first. Of two styles there are no more.
type marks struct {
	list [8]mark
	n    int
}

func (m *marks) add(text, href string) {
	m.list[m.n] = mark{text, href}
	m.n++
}

func (m *marks) all() []mark { return m.list[:m.n] }

// marks returns what begins the style, the outermost first. Code is marked piece by piece.
func (s style) marks() (m marks) {
	if s.href != "" {
		m.add("[", s.href)
	}
	if s.del {
		m.add("~~", "")
	}
	if s.strong {
		m.add("**", "")
	}
	if s.em {
		// Not a star: "***" could be one, two or three marks.
		m.add("_", "")
	}
	return m
}

// between returns the marks that end one style and begin the next, and how many of them end one.
func between(from, to style) (m marks, closing int) {
	if from == to {
		return m, 0
	}
	open, next := from.marks(), to.marks()
	same := 0
	for same < next.n && same < open.n && next.list[same] == open.list[same] {
		same++
	}
	for _, end := range slices.Backward(open.list[same:open.n]) {
		if end.href != "" {
			end.text = "]("
		}
		m.add(end.text, end.href)
	}
	closing = m.n
	for _, begin := range next.list[same:next.n] {
		m.add(begin.text, "")
	}
	return m, closing
}

// image adds a picture, or its description when its address cannot be followed.
func (l *line) image(p *paper, alt, src string, st style) {
	if src == "" || st.code {
		l.write(alt, st)
		return
	}
	var label line
	label.write(alt, style{href: src})
	if len(label.spans) == 0 {
		label.add("", style{href: src}, false)
	}
	from := len(p.text)
	label.markdown(p, inLabel)
	l.holds |= classesOf(p.text[from:])
	l.add("!"+string(p.text[from:]), st, true)
	p.text = p.text[:from]
}

// markdown writes the line. Markdown takes "**" for the end of strong text only beside certain characters: between a colon
// and a letter it is two stars. So such a letter is written as its number, which is shown as the same letter and counts as
// punctuation.
func (l *line) markdown(p *paper, at place) extent {
	start := len(p.text)
	if len(l.spans) == 0 {
		return p.since(start)
	}
	e := newEscaper(l, at)
	out, open := p.text, style{}
	for i := range len(l.spans) + 1 {
		s := span{from: len(l.text), to: len(l.text)}
		if i < len(l.spans) {
			s = l.spans[i]
		}
		marks, closing := between(open, s.style)
		open = s.style
		first, firstSize := utf8.DecodeRune(l.text[s.from:s.to])
		if marks.n > 0 {
			before, size := utf8.DecodeLastRune(out[start:])
			if closing == 0 && size > 0 && mayBeWord(before) && needsPunctuation(marks.list[0], marks.n, l.staysLetter(i, first, firstSize)) {
				out = fmt.Appendf(out[:len(out)-size], "&#%d;", before)
			}
			for _, m := range marks.all() {
				out = appendMark(out, m)
			}
			if !s.raw && !s.style.code && closing == marks.n && firstSize > 0 && mayBeWord(first) && needsPunctuation(marks.list[closing-1], closing, isWord(before)) {
				out = fmt.Appendf(out, "&#%d;", first)
				s.from += firstSize
			}
		}
		switch {
		case s.raw:
			out = append(out, l.text[s.from:s.to]...)
		case s.style.code:
			touches := s.from > 0 && !isSpace(l.text[s.from-1])
			out = appendCode(out, l.text[s.from:s.to], at, touches)
		default:
			out = e.append(out, s)
		}
	}
	p.text = out
	p.guard(start, at)
	return p.since(start)
}

// staysLetter says whether a span begins with a letter that is written as such: a single one becomes a number when more marks
// follow it.
func (l *line) staysLetter(i int, first rune, size int) bool {
	if i == len(l.spans) {
		return false
	}
	s := l.spans[i]
	if !isWord(first) || s.raw || s.style.code {
		return false
	}
	next := style{}
	if i+1 < len(l.spans) {
		next = l.spans[i+1].style
	}
	return s.from+size < s.to || next.marks().n <= s.style.marks().n
}

func appendMark(dst []byte, m mark) []byte {
	dst = append(dst, m.text...)
	if m.href != "" {
		dst = append(appendDestination(dst, m.href), ')')
	}
	return dst
}

// needsPunctuation says whether the outermost of some marks acts beside a letter only if that is written as its number; letter
// says whether another one stands on their other side.
func needsPunctuation(outermost mark, marks int, letter bool) bool {
	switch outermost.text[0] {
	case '[', ']':
		return false
	case '_':
		return true
	}
	return marks > 1 || !letter
}

// appendCode appends code. In a table a bar behind a backslash would end the cell, so it stands between two pieces of code.
func appendCode(dst, code []byte, at place, touches bool) []byte {
	for at == inCell {
		i := bytes.Index(code, []byte(`\|`))
		if i < 0 {
			break
		}
		dst = append(appendCodeSpan(dst, code[:i+1], touches), '|')
		if code = code[i+2:]; len(code) == 0 {
			return dst
		}
	}
	return appendCodeSpan(dst, code, touches)
}

// appendCodeSpan appends code between more ticks than any in it. Blanks, which are not shown, keep it from ticks of its own, and
// from the text that it touches, with which it could become an address of mail.
func appendCodeSpan(dst, code []byte, touches bool) []byte {
	apart := code[0] == '`' || code[len(code)-1] == '`' || touches && bytes.IndexByte(code, '@') >= 0
	ticks := longestRun(code) + 1
	dst = appendTicks(dst, ticks)
	if apart {
		dst = append(append(append(dst, ' '), code...), ' ')
	} else {
		dst = append(dst, code...)
	}
	return appendTicks(dst, ticks)
}

func appendTicks(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, '`')
	}
	return dst
}

// longestRun returns the length of the longest run of ticks.
func longestRun(s []byte) int {
	longest, run := 0, 0
	for _, c := range s {
		if run++; c != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	return longest
}

// gaps writes line ends and blanks in the one way of which all readers of Markdown think alike.
var gaps = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\f", " ", "\v", " ")

// indent is what Markdown takes for the beginning of code.
var indent = regexp.MustCompile(`(?m)^(?: {4}| {0,3}\t)[ \t]*`)

// asWritten escapes a text without markup, whose lines and spaces are its own.
func (p *paper) asWritten(s string) extent {
	if strings.ContainsAny(s, "\r\f\v") {
		s = gaps.Replace(s)
	}
	if strings.Contains(s, "    ") || strings.IndexByte(s, '\t') >= 0 {
		s = indent.ReplaceAllLiteralString(s, "   ")
	}
	r := p.renderer()
	defer p.release(r)
	r.line.text = append(r.line.text, s...)
	r.line.holds = classesOf(r.line.text)
	r.line.spans = append(r.line.spans, span{to: len(s)})
	start := len(p.text)
	e := newEscaper(&r.line, inParagraph)
	p.text = e.append(p.text, r.line.spans[0])
	p.guard(start, inParagraph)
	return p.since(start)
}
