package description

import (
	"fmt"
	"html"
	"regexp"
	"strings"
)

// Format is what a description becomes.
type Format int

const (
	// Markdown is what OpenCTI shows: tables, lists, links and code survive.
	Markdown Format = iota
	// Text is the flat text without any separator between elements.
	Text
	// HTML leaves descriptions as they came.
	HTML
)

// ParseFormat reads the name of a format.
func ParseFormat(name string) (Format, error) {
	for _, f := range []Format{Markdown, Text, HTML} {
		if f.String() == name {
			return f, nil
		}
	}
	return 0, fmt.Errorf("unknown description format %q: use markdown, text or html", name)
}

func (f Format) String() string {
	switch f {
	case Markdown:
		return "markdown"
	case Text:
		return "text"
	case HTML:
		return "html"
	}
	return fmt.Sprintf("Format(%d)", int(f))
}

// Convert turns a description into the format. The result is valid UTF-8 when the input is.
func Convert(f Format, s string) string {
	switch f {
	case Text:
		return toText(s)
	case Markdown:
		return toMarkdown(s)
	}
	return s
}

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
		case open["template"]+open["rt"]+open["rp"] > 0:
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
		case t.kind == text && sc.pos == len(s):
			cut := cutOff.FindString(t.raw)
			write(html.UnescapeString(strings.TrimSuffix(t.raw, cut)) + cut)
		case t.kind == text:
			write(html.UnescapeString(t.raw))
		case t.kind == startTag && !t.selfClosing:
			open[t.name]++
		case t.kind == endTag:
			open[t.name] = max(0, open[t.name]-1)
		}
	}
}

// toMarkdown writes an HTML text as Markdown that shows the same.
func toMarkdown(s string) string {
	pieces := clean(s)
	if pieces == nil {
		return asWritten(decode(s))
	}
	var out []string
	for _, piece := range pieces {
		if markdown := render(piece); markdown != "" {
			out = append(out, markdown)
		}
	}
	return strings.Join(out, "\n\n")
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
