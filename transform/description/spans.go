package description

import (
	"bytes"
	"strings"
)

// spanKind is a piece of a line that Markdown marks at both ends. Each kind is open once at most, which bounds the work.
type spanKind uint8

const (
	noSpan spanKind = iota
	strong
	emphasis
	deleted
	code
	link
)

var spanOf = map[string]spanKind{
	"b": strong, "strong": strong, "i": emphasis, "em": emphasis, "del": deleted, "s": deleted, "strike": deleted,
	"code": code, "tt": code, "kbd": code, "samp": code, "a": link,
}

type span struct {
	kind spanKind
	// start is where its text begins in the output, -1 while there is none.
	start int
	href  string
	// spent says that the link has been written: one that goes on over several blocks is written for the first.
	spent bool
}

func (w *markdownWriter) spanIndex(k spanKind) int {
	for i := range w.spans {
		if w.spans[i].kind == k {
			return i
		}
	}
	return -1
}

func (w *markdownWriter) openSpan(k spanKind, t token) {
	if w.spanIndex(code) >= 0 {
		return
	}
	if k == link {
		w.closeSpan(link)
		w.spans = append(w.spans, span{kind: link, start: -1, href: destination(t.attr("href"))})
		return
	}
	if w.spanIndex(k) < 0 {
		w.spans = append(w.spans, span{kind: k, start: -1})
	}
}

func (w *markdownWriter) closeSpan(k spanKind) {
	i := w.spanIndex(k)
	if i < 0 {
		return
	}
	if s := w.spans[i]; k == link && s.start < 0 && !s.spent && s.href != "" {
		w.begin()
		w.out = append(w.out, s.href...)
	}
	w.interrupt(i)
	w.spans = append(w.spans[:i], w.spans[i+1:]...)
}

// interrupt writes the marks of the spans from index i on, as they stand; they begin again with the next text.
func (w *markdownWriter) interrupt(i int) {
	for j := len(w.spans) - 1; j >= i; j-- {
		s := &w.spans[j]
		if s.start < 0 {
			continue
		}
		content := bytes.TrimRight(w.out[s.start:], " \t\r\n\f")
		if len(content) > 0 {
			w.mark(s, len(content))
		}
		s.start = -1
	}
}

// mark puts the marks around the n bytes from the span's start, inside any white space that follows them.
func (w *markdownWriter) mark(s *span, n int) {
	before, after := "", ""
	content := w.out[s.start : s.start+n]
	switch s.kind {
	case strong:
		before, after = "**", "**"
	case emphasis:
		before, after = "*", "*"
	case deleted:
		before, after = "~~", "~~"
	case code:
		before, after = codeMarks(content)
	case link:
		if s.href == "" || s.spent {
			return
		}
		s.spent = true
		if !balanced(content) {
			tail := string(w.out[s.start+n:])
			w.out = escapeFrom(w.out[:s.start+n], s.start, "[]")
			n = len(w.out) - s.start
			w.out = append(w.out, tail...)
		}
		href := s.href
		if w.table != nil {
			href = strings.ReplaceAll(href, "|", "%7C")
		}
		before, after = "[", "]("+href+")"
	}
	w.out = insert(w.out, s.start+n, after)
	w.out = insert(w.out, s.start, before)
}

func codeMarks(content []byte) (before, after string) {
	fence := strings.Repeat("`", longestRun(content, '`', 0)+1)
	if content[0] == '`' || content[len(content)-1] == '`' {
		return fence + " ", " " + fence
	}
	return fence, fence
}

// longestRun returns the length of the longest run of c in b, at least least.
func longestRun(b []byte, c byte, least int) int {
	run := 0
	for _, x := range b {
		if x != c {
			run = 0
			continue
		}
		run++
		least = max(least, run)
	}
	return least
}

func balanced(b []byte) bool {
	depth := 0
	for _, c := range b {
		switch c {
		case '[':
			depth++
		case ']':
			if depth--; depth < 0 {
				return false
			}
		}
	}
	return depth == 0
}

// destination makes an address fit to stand in a link's parentheses; "" when it is none, or one that runs code.
func destination(href string) string {
	href = strings.TrimSpace(href)
	scheme, _, _ := strings.Cut(href, ":")
	switch strings.ToLower(scheme) {
	case "javascript", "vbscript":
		return ""
	}
	parens, low := 0, 0
	plain := true
	for i := 0; i < len(href); i++ {
		switch c := href[i]; {
		case c == '(':
			parens++
		case c == ')':
			parens--
			low = min(low, parens)
		case c <= ' ' || c == '<' || c == '>':
			plain = false
		}
	}
	if plain && parens == 0 && low == 0 {
		return href
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(href); i++ {
		switch c := href[i]; {
		case c == '\n' || c == '\r' || c == '\t':
		case c <= ' ' || c == '<' || c == '>' || c == '(' || c == ')':
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (w *markdownWriter) image(t token) {
	alt, src := strings.Join(strings.Fields(t.attr("alt")), " "), destination(t.attr("src"))
	if src == "" || w.spanIndex(code) >= 0 {
		w.literal(alt)
		return
	}
	w.begin()
	from := len(w.out)
	w.out = append(w.out, "!["...)
	at := len(w.out)
	w.out = append(w.out, alt...)
	w.out = escapeFrom(w.out, at, "[]")
	w.out = append(append(append(w.out, "]("...), src...), ')')
	if w.table != nil {
		w.out = escapeFrom(w.out, from, "|")
	}
}
