package description

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

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

// indent is what Markdown takes for the beginning of code.
var indent = regexp.MustCompile(`(?m)^(?: {4}| {0,3}\t)[ \t]*`)

// asWritten escapes a text without markup, whose lines and spaces are its own.
func asWritten(s string) string {
	if strings.Contains(s, "    ") || strings.Contains(s, "\t") {
		s = indent.ReplaceAllLiteralString(s, "   ")
	}
	l := line{text: []byte(s), spans: []span{{to: len(s)}}}
	return inParagraph.guard(string(newEscaper(&l, inParagraph).append(nil, l.spans[0])))
}
