package description

import (
	"bytes"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// paper is what Markdown is written on: the parts of a description one behind the other, then what they make up.
type paper struct {
	text []byte
	// aside is for a text that is written in another form at once.
	aside []byte
	// items are the items of the lists that are being read, the outermost first; idle are renderers to use again.
	items, idle []*renderer
}

// mostIdle bounds the renderers that are kept, mostLine the bytes in each, and mostPaper all others.
const (
	mostIdle  = 64
	mostLine  = 16 << 10
	mostPaper = maxPiece / 2
)

// extent is a text on paper.
type extent struct{ from, to int }

func (e extent) isEmpty() bool { return e.from == e.to }

func (p *paper) begin() {
	if cap(p.text) > mostPaper {
		p.text = nil
	}
	p.text = p.text[:0]
}

func (p *paper) append(dst []byte, e extent) []byte { return append(dst, p.text[e.from:e.to]...) }

// since is all that was written from a place on.
func (p *paper) since(from int) extent { return extent{from, len(p.text)} }

func (p *paper) write(s string) { p.text = append(p.text, s...) }

// copy writes a text once more.
func (p *paper) copy(e extent) { p.text = append(p.text, p.text[e.from:e.to]...) }

// renderer returns one to use until it is released.
func (p *paper) renderer() *renderer {
	if n := len(p.idle); n > 0 {
		r := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return r
	}
	return &renderer{paper: p}
}

func (p *paper) release(r *renderer) {
	if len(p.idle) < mostIdle && cap(r.line.text) <= mostLine {
		r.line.clear()
		r.blocks, r.flat = r.blocks[:0], false
		p.idle = append(p.idle, r)
	}
}

// render writes the children of an element.
func (p *paper) render(n *html.Node) extent {
	r := p.renderer()
	defer p.release(r)
	r.children(n, style{})
	return r.join(false)
}

// renderParsed writes cleaned HTML as Markdown.
func (p *paper) renderParsed(cleaned string) extent {
	body := &html.Node{Type: html.ElementNode, Data: "body", DataAtom: atom.Body}
	nodes, err := html.ParseFragment(strings.NewReader(cleaned), body)
	if err != nil {
		// Only a nesting that the cleaner does not let through is refused.
		return p.asWritten(toText(cleaned))
	}
	for _, n := range nodes {
		body.AppendChild(n)
	}
	return p.render(body)
}

// prefix writes a text with first before its first line and rest before the others.
func (p *paper) prefix(text extent, first, rest string) {
	for from := text.from; from < text.to; {
		end := text.to
		if n := bytes.IndexByte(p.text[from:end], '\n'); n >= 0 {
			end = from + n + 1
		}
		switch {
		case from == text.from:
			p.write(first)
		case end == from+1 && p.text[from] == '\n':
			p.write(strings.TrimRight(rest, " "))
		default:
			p.write(rest)
		}
		p.copy(extent{from, end})
		from = end
	}
}
