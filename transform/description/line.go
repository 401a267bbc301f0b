package description

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
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

// marks returns what begins the style, the outermost first. Code is marked piece by piece.
func (s style) marks() []string {
	var m []string
	if s.href != "" {
		m = append(m, "["+s.href)
	}
	if s.del {
		m = append(m, "~~")
	}
	if s.strong {
		m = append(m, "**")
	}
	if s.em {
		// Not a star: "***" could be one, two or three marks.
		m = append(m, "_")
	}
	return m
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
		n := strings.IndexFunc(s, isGap)
		switch {
		case n < 0:
			n = len(s)
			fallthrough
		case n > 0:
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

// isGap says whether a character is white space for Markdown.
func isGap(r rune) bool {
	return r < utf8.RuneSelf && (isSpace(byte(r)) || r == '\v') || r >= utf8.RuneSelf && unicode.Is(unicode.Zs, r)
}

func (l *line) add(s string, st style, raw bool) {
	if n := len(l.spans); n > 0 && l.gap != "" {
		between := l.spans[n-1].style.both(st)
		if l.gap[0] == '\n' {
			between.code = false
			l.append("  "+l.gap, between, true)
		} else {
			l.append(l.gap, between, false)
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

// image adds a picture, or its description when its address cannot be followed.
func (l *line) image(alt, src string, st style) {
	if src == "" || st.code {
		l.write(alt, st)
		return
	}
	var label line
	label.write(alt, style{href: src})
	if len(label.spans) == 0 {
		label.add("", style{href: src}, false)
	}
	l.add("!"+label.markdown(inLabel), st, true)
}

// markdown writes the line. Markdown takes "**" for the end of strong text only beside certain characters: between a colon
// and a letter it is two stars. So a letter beside marks is written as its number, which is shown as the same letter and
// counts as punctuation.
func (l *line) markdown(at place) string {
	e := newEscaper(l, at)
	out := make([]byte, 0, len(l.text)+len(l.text)/8+16)
	var open []string
	for _, s := range append(l.spans, span{from: len(l.text), to: len(l.text)}) {
		marks, closing := between(open, s.style.marks())
		open = s.style.marks()
		if last, size := utf8.DecodeLastRune(out); len(marks) > 0 && closing == 0 && marks[0] != "[" && size > 0 && isWord(last) {
			out = fmt.Appendf(out[:len(out)-size], "&#%d;", last)
		}
		for _, mark := range marks {
			out = append(out, mark...)
		}
		switch {
		case s.raw:
			out = append(out, l.text[s.from:s.to]...)
		case s.style.code:
			out = append(out, codeSpan(string(l.text[s.from:s.to]))...)
		default:
			if next, size := utf8.DecodeRune(l.text[s.from:s.to]); closing > 0 && closing == len(marks) && marks[closing-1][0] != ']' && size > 0 && isWord(next) {
				out = fmt.Appendf(out, "&#%d;", next)
				s.from += size
			}
			out = e.append(out, s)
		}
	}
	return at.guard(string(out))
}

// between returns the marks that end one style and begin the next.
func between(open, next []string) (marks []string, closing int) {
	same := 0
	for same < len(next) && same < len(open) && next[same] == open[same] {
		same++
	}
	for _, mark := range slices.Backward(open[same:]) {
		if mark[0] == '[' {
			mark = "](" + destinationText(mark[1:]) + ")"
		}
		marks = append(marks, mark)
	}
	closing = len(marks)
	for _, mark := range next[same:] {
		if mark[0] == '[' {
			mark = "["
		}
		marks = append(marks, mark)
	}
	return marks, closing
}

// mayMark says whether a mark between two characters may begin something, and whether it may end something.
func mayMark(mark byte, before, after rune) (begin, end bool) {
	begin = !isGap(after) && (isWord(after) || !isWord(before))
	end = !isGap(before) && (isWord(before) || !isWord(after))
	switch mark {
	case '`':
		return true, true
	case '_':
		return begin && !isWord(before), end && !isWord(after)
	}
	return begin, end
}

// isWord says whether a character is neither white space nor punctuation for Markdown.
func isWord(r rune) bool { return !isGap(r) && !unicode.IsPunct(r) && !unicode.IsSymbol(r) }

// codeSpan writes code between more ticks than any in it.
func codeSpan(s string) string {
	ticks := strings.Repeat("`", longestRun(s)+1)
	if s[0] == '`' || s[len(s)-1] == '`' {
		return ticks + " " + s + " " + ticks
	}
	return ticks + s + ticks
}

// longestRun returns the length of the longest run of ticks.
func longestRun(s string) int {
	longest := 0
	for run := range strings.FieldsFuncSeq(s, func(r rune) bool { return r != '`' }) {
		longest = max(longest, len(run))
	}
	return longest
}
