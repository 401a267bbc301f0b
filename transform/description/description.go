// Package description converts the HTML that ThreatMatch writes into descriptions.
//
// It is made for texts of which nobody can say beforehand whether they are HTML, plain text or a mixture: what is markup
// is decided by one rule (see [scanner]), and everything else is text that is kept. All conversions take time and memory
// linear in the input, whatever the input.
package description

import (
	"fmt"
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
		if !strings.ContainsAny(s, "<&") && !allSpace(s) {
			return s
		}
		return toText(s)
	case Markdown:
		if !strings.ContainsAny(s, "<&") {
			return s
		}
		return toMarkdown(s)
	}
	return s
}
