package description

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// blockKind says what may stand beside a block.
type blockKind uint8

const (
	other blockKind = iota
	paragraph
	bulleted
	numbered
)

type block struct {
	kind blockKind
	text extent
	// mark is the letter of a list's items; two lists side by side have different ones, or they would be one.
	mark byte
	// start is a numbered list's first number.
	start int
}

// renderer turns the children of an element into the blocks of Markdown.
type renderer struct {
	paper  *paper
	blocks []block
	line   line
	// flat says that everything has one line: in a heading or a table's cell.
	flat bool
}

func (r *renderer) node(n *html.Node, st style) {
	inner, styled := restyle(n, st)
	switch {
	case n.Type == html.TextNode:
		r.line.write(n.Data, st)
	case styled:
		if n.FirstChild == nil && inner.href != st.href {
			// A link without content shows its address.
			r.line.write(inner.href, inner)
		}
		r.children(n, inner)
	case n.DataAtom == atom.Br && r.flat:
		r.line.space()
	case n.DataAtom == atom.Br:
		if r.line.breakLine() {
			r.flush()
		}
	case n.DataAtom == atom.Img:
		r.line.image(r.paper, attr(n, "alt"), destination(attr(n, "src")), st)
	case n.DataAtom != atom.Template:
		r.block(n, st)
	}
}

func (r *renderer) children(n *html.Node, st style) {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		r.node(c, st)
	}
}

// restyle returns the style inside an element; styled is false when the element is no style.
func restyle(n *html.Node, st style) (inner style, styled bool) {
	switch n.DataAtom {
	case atom.Strong:
		st.strong = true
	case atom.Em:
		st.em = true
	case atom.Del:
		st.del = true
	case atom.Code:
		st.code = true
	case atom.A:
		st.href = destination(attr(n, "href"))
	default:
		return st, false
	}
	return st, true
}

func (r *renderer) block(n *html.Node, st style) {
	if r.flat {
		r.line.space()
		r.children(n, st)
		r.line.space()
		return
	}
	r.flush()
	from := len(r.paper.text)
	switch n.DataAtom {
	case atom.Ul, atom.Ol:
		r.list(n, st)
	case atom.Blockquote:
		r.quotation(n, st)
	case atom.Table:
		r.table(n, st)
	case atom.Hr:
		r.paper.write("___")
		r.add(block{text: r.paper.since(from)})
	case atom.Pre:
		r.pre(n)
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		hashes := "######"
		r.paper.write(hashes[:n.Data[1]-'0'])
		r.paper.write(" ")
		if !r.paper.flat(n, st, inHeading).isEmpty() {
			r.add(block{text: r.paper.since(from)})
		}
	default:
		r.children(n, st)
		r.flush()
	}
}

// flush ends the paragraph.
func (r *renderer) flush() {
	r.add(block{kind: paragraph, text: r.line.markdown(r.paper, inParagraph)})
	r.line.clear()
}

func (r *renderer) add(b block) {
	if !b.text.isEmpty() {
		r.blocks = append(r.blocks, b)
	}
}

// join ends the blocks. In an item, a list stays close to the text before it, unless that would take it for more text.
func (r *renderer) join(inItem bool) extent {
	r.flush()
	if len(r.blocks) == 1 {
		return r.blocks[0].text
	}
	from := len(r.paper.text)
	for i, b := range r.blocks {
		switch {
		case i == 0:
		case inItem && r.blocks[i-1].kind == paragraph && (b.kind == bulleted || b.kind == numbered && b.start == 1):
			r.paper.write("\n")
		default:
			r.paper.write("\n\n")
		}
		r.paper.copy(b.text)
	}
	return r.paper.since(from)
}

// flat writes the content of an element as one line.
func (p *paper) flat(n *html.Node, st style, at place) extent {
	r := p.renderer()
	defer p.release(r)
	r.flat = true
	r.children(n, st)
	return r.line.markdown(p, at)
}

func (r *renderer) quotation(n *html.Node, st style) {
	quoted := r.paper.renderer()
	defer r.paper.release(quoted)
	quoted.children(n, st)
	text := quoted.join(false)
	from := len(r.paper.text)
	r.paper.prefix(text, "> ", "> ")
	r.add(block{text: r.paper.since(from)})
}

// list writes a list.
func (r *renderer) list(n *html.Node, st style) {
	p := r.paper
	first := len(p.items)
	r.collect(first, n, st)
	r.flush()
	b := block{kind: bulleted, mark: '-'}
	if n.DataAtom == atom.Ol {
		b = block{kind: numbered, mark: '.', start: 1}
		if v, err := strconv.Atoi(attr(n, "start")); err == nil && v >= 0 && v < 1e8 {
			b.start = v
		}
	}
	if n := len(r.blocks); n > 0 && r.blocks[n-1].kind == b.kind && r.blocks[n-1].mark == b.mark {
		b.mark = otherMark(b.mark)
	}
	b.items(p, p.items[first:])
	for _, item := range p.items[first:] {
		p.release(item)
	}
	clear(p.items[first:])
	p.items = p.items[:first]
	r.add(b)
}

func otherMark(mark byte) byte {
	switch mark {
	case '-':
		return '*'
	case '.':
		return ')'
	}
	return 0
}

// collect appends the items of a list to those of the paper, of which it has those from first on. What stands in a list but in no
// item is more of the item before it, as browsers show it, or stands before the list.
func (r *renderer) collect(first int, n *html.Node, st style) {
	p := r.paper
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		isItem := c.DataAtom == atom.Li
		if inner, styled := restyle(c, st); styled {
			r.collect(first, c, inner)
			continue
		}
		switch {
		case isItem:
			item := p.renderer()
			p.items = append(p.items, item)
			item.children(c, st)
		case len(p.items) > first:
			p.items[len(p.items)-1].node(c, st)
		case strings.TrimSpace(c.Data) != "":
			r.node(c, st)
		}
	}
}

// items writes those that show anything; the others count.
func (b *block) items(p *paper, items []*renderer) {
	for _, r := range items {
		text := r.join(true)
		r.blocks = append(r.blocks[:0], block{text: text})
	}
	from, shown := len(p.text), 0
	for i, r := range items {
		text := r.blocks[0].text
		if text.isEmpty() {
			continue
		}
		if b.kind == numbered && shown == 0 {
			b.start += i
		}
		if shown > 0 {
			p.write("\n")
		}
		b.item(p, text, b.start+shown)
		shown++
	}
	b.text = p.since(from)
}

func (b *block) item(p *paper, text extent, number int) {
	if b.kind != numbered {
		p.prefix(text, string(b.mark)+" ", "  ")
		return
	}
	marker := strconv.Itoa(number) + string(b.mark) + " "
	p.prefix(text, marker, strings.Repeat(" ", len(marker)))
}

// pre writes a preformatted block between fences that are longer than any in it.
func (r *renderer) pre(n *html.Node) {
	p := r.paper
	p.aside = appendLines(p.aside[:0], n)
	text := bytes.TrimRight(p.aside, " \t\n")
	if len(text) == 0 {
		return
	}
	from, fence := len(p.text), max(3, longestRun(text)+1)
	p.text = append(appendTicks(p.text, fence), '\n')
	p.text = append(append(p.text, text...), '\n')
	p.text = appendTicks(p.text, fence)
	r.add(block{text: p.since(from)})
}

// appendLines appends preformatted text, in which elements begin lines too.
func appendLines(dst []byte, n *html.Node) []byte {
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		switch {
		case c.Type == html.TextNode:
			dst = append(dst, strings.ReplaceAll(c.Data, "\r", "\n")...)
		case c.DataAtom == atom.Br:
			dst = append(dst, '\n')
		case c.DataAtom == atom.Template:
		case makesLines(c.DataAtom):
			dst = endLine(appendLines(endLine(dst), c))
		default:
			dst = appendLines(dst, c)
		}
	}
	return dst
}

func endLine(dst []byte) []byte {
	if len(dst) > 0 && dst[len(dst)-1] != '\n' {
		dst = append(dst, '\n')
	}
	return dst
}
