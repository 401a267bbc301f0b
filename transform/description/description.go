package description

import (
	"context"
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

// Convert turns a description into the format. The result is valid UTF-8 when the input is. When ctx ends it returns early, with
// something that is of no use: a long text takes seconds.
func Convert(ctx context.Context, f Format, s string) string {
	switch f {
	case Text:
		return toText(s)
	case Markdown:
		return toMarkdown(ctx, s)
	}
	return s
}

// toMarkdown writes an HTML text as Markdown that shows the same.
func toMarkdown(ctx context.Context, s string) string {
	marked, blocks := survey(s)
	if !marked {
		return asWritten(decode(s))
	}
	var out []string
	for piece := range clean(s, !blocks) {
		if ctx.Err() != nil {
			break
		}
		if markdown := render(piece); markdown != "" {
			out = append(out, markdown)
		}
	}
	return strings.Join(out, "\n\n")
}
