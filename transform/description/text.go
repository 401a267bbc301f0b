package description

import (
	"html"
	"regexp"
	"strings"
)

// cutOff is a reference that the end of the text cuts off: it is left as it is.
var cutOff = regexp.MustCompile(`&#?[0-9A-Za-z]*$`)

// toText returns the characters of an HTML text without any separator between elements. A run of nothing but white space
// shrinks to one space or line end, outside of preformatted elements.
func toText(s string) string {
	var out strings.Builder
	out.Grow(len(s))
	open := make(map[string]int)
	write := func(run string) {
		switch {
		case open["template"] > 0:
		case strings.Trim(run, " \t\r\n\f") != "" || open["pre"]+open["textarea"] > 0:
			out.WriteString(run)
		case strings.Contains(run, "\n"):
			out.WriteByte('\n')
		case run != "":
			out.WriteByte(' ')
		}
	}
	for sc := newScanner(s); ; {
		t, ok := sc.next()
		switch {
		case !ok:
			return out.String()
		case t.kind == cdata:
			write(t.raw)
		case t.kind == plain && sc.pos == len(s):
			cut := cutOff.FindString(t.raw)
			write(html.UnescapeString(strings.TrimSuffix(t.raw, cut)) + cut)
		case t.kind == plain:
			write(html.UnescapeString(t.raw))
		case t.kind == startTag && !t.selfClosing:
			open[t.name]++
		case t.kind == endTag:
			open[t.name] = max(0, open[t.name]-1)
		}
	}
}
