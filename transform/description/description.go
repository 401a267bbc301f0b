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
	return string(new(Converter).Append(ctx, nil, f, s))
}

// Converter converts descriptions one after the other, in room that it keeps. The zero value is ready to use.
type Converter struct {
	scanner scanner
	// tokens are those of a text that is not long.
	text    string
	tokens  []token
	cleaner cleaner
	tree    tree
	paper   paper
}

// longText is the length from which a text is read bit by bit, and nothing is kept of it.
const longText = maxPiece / 4

// mostTokens bounds those that are kept from one description to the next.
const mostTokens = 4096

// isLong says whether a text is read bit by bit: one of a length of which nothing is kept, or of which the cleaner might make several
// pieces.
func isLong(s string) bool {
	const short = maxPiece / 16
	return len(s) >= longText || len(s) >= short && mostCleaned(s) > maxPiece/2
}

// mostCleaned is how long a text can become when the cleaner says it again. All that grows is or has one of a few characters: a
// tag becomes two of a longer name at most ("<b/>"), and any other character a tag or a reference of five.
func mostCleaned(s string) int {
	most := len(s) + 9*strings.Count(s, "<")
	for _, char := range [...]string{">", "&", "\n", "\r", `"`, "'"} {
		most += 4 * strings.Count(s, char)
	}
	return most
}

// Append appends a description as [Convert] returns it.
func (c *Converter) Append(ctx context.Context, dst []byte, f Format, s string) []byte {
	switch f {
	case Text:
		return append(dst, toText(s)...)
	case Markdown:
		return c.appendMarkdown(ctx, dst, s)
	}
	return append(dst, s...)
}

// appendMarkdown writes an HTML text as Markdown that shows the same.
func (c *Converter) appendMarkdown(ctx context.Context, dst []byte, s string) []byte {
	if isLong(s) {
		return appendLong(ctx, dst, s)
	}
	c.scan(s)
	marked, blocks := false, false
	for _, t := range c.tokens {
		marked = marked || t.kind != plain
		blocks = blocks || makesLines(t.as)
	}
	c.paper.begin()
	if !marked {
		return c.paper.append(dst, c.paper.asWritten(decode(s)))
	}
	c.tree.begin()
	c.cleaner.begin(&c.tree, !blocks)
	for _, t := range c.tokens {
		c.cleaner.token(t)
	}
	if c.tree.untidy {
		return appendLong(ctx, dst, s)
	}
	return c.paper.append(dst, c.paper.render(c.tree.root()))
}

// scan splits a text, unless it is the one of before.
func (c *Converter) scan(s string) {
	if s == c.text {
		return
	}
	if cap(c.tokens) > mostTokens {
		c.tokens = nil
	}
	clear(c.tokens)
	c.text, c.tokens = s, c.tokens[:0]
	for c.scanner.begin(s); ; {
		t, ok := c.scanner.next()
		if !ok {
			break
		}
		c.tokens = append(c.tokens, t)
	}
}

// appendLong is appendMarkdown for a text of any length, tidy or not.
func appendLong(ctx context.Context, dst []byte, s string) []byte {
	var p paper
	marked, blocks := survey(s)
	if !marked {
		return p.append(dst, p.asWritten(decode(s)))
	}
	start := len(dst)
	for piece := range clean(s, !blocks) {
		if ctx.Err() != nil {
			break
		}
		p.begin()
		markdown := p.renderParsed(piece)
		if markdown.isEmpty() {
			continue
		}
		if len(dst) > start {
			dst = append(dst, "\n\n"...)
		}
		dst = p.append(dst, markdown)
	}
	return dst
}
