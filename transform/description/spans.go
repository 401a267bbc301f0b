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
// and a letter it is two stars. So such a letter is written as its number, which is shown as the same letter and counts as
// punctuation.
func (l *line) markdown(at place) string {
	e := newEscaper(l, at)
	out := make([]byte, 0, len(l.text)+len(l.text)/8+16)
	var open []string
	spans := append(l.spans, span{from: len(l.text), to: len(l.text)})
	for i, s := range spans {
		marks, closing := between(open, s.style.marks())
		open = s.style.marks()
		before, size := utf8.DecodeLastRune(out)
		first, firstSize := utf8.DecodeRune(l.text[s.from:s.to])
		// A single letter becomes a number when more marks follow it.
		letter := isWord(first) && !s.raw && !s.style.code && (s.from+firstSize < s.to || len(spans[i+1].style.marks()) <= len(open))
		if len(marks) > 0 && closing == 0 && size > 0 && mayBeWord(before) && needsPunctuation(marks[0], len(marks), letter) {
			out = fmt.Appendf(out[:len(out)-size], "&#%d;", before)
		}
		for _, mark := range marks {
			out = append(out, mark...)
		}
		switch {
		case s.raw:
			out = append(out, l.text[s.from:s.to]...)
		case s.style.code:
			touches := s.from > 0 && !isSpace(l.text[s.from-1])
			out = appendCode(out, string(l.text[s.from:s.to]), at, touches)
		default:
			if closing > 0 && closing == len(marks) && firstSize > 0 && mayBeWord(first) && needsPunctuation(marks[closing-1], closing, isWord(before)) {
				out = fmt.Appendf(out, "&#%d;", first)
				s.from += firstSize
			}
			out = e.append(out, s)
		}
	}
	return at.guard(string(out))
}

// needsPunctuation says whether the outermost of some marks acts beside a letter only if that is written as its number; letter
// says whether another one stands on their other side.
func needsPunctuation(outermost string, marks int, letter bool) bool {
	switch outermost[0] {
	case '[', ']':
		return false
	case '_':
		return true
	}
	return marks > 1 || !letter
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

// appendCode appends code. In a table a bar behind a backslash would end the cell, so it stands between two pieces of code.
func appendCode(dst []byte, code string, at place, touches bool) []byte {
	if at != inCell || !strings.Contains(code, `\|`) {
		return append(dst, codeSpan(code, touches)...)
	}
	pieces := strings.Split(code, `\|`)
	for _, piece := range pieces[:len(pieces)-1] {
		dst = append(dst, codeSpan(piece+`\`, touches)+"|"...)
	}
	if last := pieces[len(pieces)-1]; last != "" {
		dst = append(dst, codeSpan(last, touches)...)
	}
	return dst
}

// codeSpan writes code between more ticks than any in it. Blanks, which are not shown, keep it from ticks of its own, and
// from the text that it touches, with which it could become an address of mail.
func codeSpan(s string, touches bool) string {
	ticks := strings.Repeat("`", longestRun(s)+1)
	if s[0] == '`' || s[len(s)-1] == '`' || touches && strings.Contains(s, "@") {
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

// gaps writes line ends and blanks in the one way of which all readers of Markdown think alike.
var gaps = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\f", " ", "\v", " ")

// indent is what Markdown takes for the beginning of code.
var indent = regexp.MustCompile(`(?m)^(?: {4}| {0,3}\t)[ \t]*`)

// asWritten escapes a text without markup, whose lines and spaces are its own.
func asWritten(s string) string {
	if strings.ContainsAny(s, "\r\f\v") {
		s = gaps.Replace(s)
	}
	if strings.Contains(s, "    ") || strings.Contains(s, "\t") {
		s = indent.ReplaceAllLiteralString(s, "   ")
	}
	l := line{text: []byte(s), spans: []span{{to: len(s)}}}
	return inParagraph.guard(string(newEscaper(&l, inParagraph).append(nil, l.spans[0])))
}
