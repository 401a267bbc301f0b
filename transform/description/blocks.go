package description

import (
	"slices"
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
	text string
	// mark is the letter of a list's items; two lists side by side have different ones, or they would be one.
	mark byte
	// start is a numbered list's first number.
	start int
}

// renderer turns the children of an element into the blocks of Markdown.
type renderer struct {
	blocks []block
	line   line
	// flat says that everything has one line: in a heading or a table's cell.
	flat bool
}

// render writes cleaned HTML as Markdown.
func render(cleaned string) string {
	body := &html.Node{Type: html.ElementNode, Data: "body", DataAtom: atom.Body}
	nodes, err := html.ParseFragment(strings.NewReader(cleaned), body)
	if err != nil {
		// Only a nesting that the cleaner does not let through is refused.
		return asWritten(toText(cleaned))
	}
	var r renderer
	for _, n := range nodes {
		r.node(n, style{})
	}
	return r.join(false)
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
		r.line.image(attr(n, "alt"), destination(attr(n, "src")), st)
	case n.DataAtom != atom.Template:
		r.block(n, st)
	}
}

func (r *renderer) children(n *html.Node, st style) {
	for c := range n.ChildNodes() {
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
	switch n.DataAtom {
	case atom.Ul, atom.Ol:
		r.list(n, st)
	case atom.Blockquote:
		var quoted renderer
		quoted.children(n, st)
		r.add(block{text: prefix(quoted.join(false), "> ", "> ")})
	case atom.Table:
		r.table(n, st)
	case atom.Hr:
		r.add(block{text: "___"})
	case atom.Pre:
		r.pre(n)
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		if text := flat(n, st, inHeading); text != "" {
			r.add(block{text: strings.Repeat("#", int(n.Data[1]-'0')) + " " + text})
		}
	default:
		r.children(n, st)
		r.flush()
	}
}

// flush ends the paragraph.
func (r *renderer) flush() {
	r.add(block{kind: paragraph, text: r.line.markdown(inParagraph)})
	r.line = line{}
}

func (r *renderer) add(b block) {
	if b.text != "" {
		r.blocks = append(r.blocks, b)
	}
}

// join ends the blocks. In an item, a list stays close to the text before it, unless that would take it for more text.
func (r *renderer) join(inItem bool) string {
	r.flush()
	var out strings.Builder
	for i, b := range r.blocks {
		switch {
		case i == 0:
		case inItem && r.blocks[i-1].kind == paragraph && (b.kind == bulleted || b.kind == numbered && b.start == 1):
			out.WriteByte('\n')
		default:
			out.WriteString("\n\n")
		}
		out.WriteString(b.text)
	}
	return out.String()
}

// flat renders the content of an element as one line.
func flat(n *html.Node, st style, at place) string {
	r := renderer{flat: true}
	r.children(n, st)
	return r.line.markdown(at)
}

// list writes a list.
func (r *renderer) list(n *html.Node, st style) {
	items := r.collect(nil, n, st)
	r.flush()
	b := block{kind: bulleted, mark: '-'}
	if n.DataAtom == atom.Ol {
		b = block{kind: numbered, mark: '.', start: 1}
		if v, err := strconv.Atoi(attr(n, "start")); err == nil && v >= 0 && v < 1e8 {
			b.start = v
		}
	}
	if n := len(r.blocks); n > 0 && r.blocks[n-1].kind == b.kind && r.blocks[n-1].mark == b.mark {
		b.mark = map[byte]byte{'-': '*', '.': ')'}[b.mark]
	}
	b.items(items)
	r.add(b)
}

// collect appends the items of a list. What stands in a list but in no item is more of the item before it, as browsers show
// it, or stands before the list.
func (r *renderer) collect(items []*renderer, n *html.Node, st style) []*renderer {
	for c := range n.ChildNodes() {
		isItem := c.DataAtom == atom.Li
		if inner, styled := restyle(c, st); styled {
			items = r.collect(items, c, inner)
			continue
		}
		switch {
		case isItem:
			items = append(items, &renderer{})
			items[len(items)-1].children(c, st)
		case len(items) > 0:
			items[len(items)-1].node(c, st)
		case strings.TrimSpace(c.Data) != "":
			r.node(c, st)
		}
	}
	return items
}

// items writes those that show anything; the others count.
func (b *block) items(items []*renderer) {
	var lines []string
	for i, r := range items {
		item := r.join(true)
		if item == "" {
			continue
		}
		marker := string(b.mark) + " "
		if b.kind == numbered {
			if len(lines) == 0 {
				b.start += i
			}
			marker = strconv.Itoa(b.start+len(lines)) + marker
		}
		lines = append(lines, prefix(item, marker, strings.Repeat(" ", len(marker))))
	}
	b.text = strings.Join(lines, "\n")
}

// prefix puts first before the first line of text and rest before the others.
func prefix(text, first, rest string) string {
	if text == "" {
		return ""
	}
	var out strings.Builder
	out.WriteString(first)
	for line := range strings.Lines(text) {
		if out.Len() > len(first) {
			if line == "\n" {
				out.WriteString(strings.TrimRight(rest, " "))
			} else {
				out.WriteString(rest)
			}
		}
		out.WriteString(line)
	}
	return out.String()
}

// pre writes a preformatted block between fences that are longer than any in it.
func (r *renderer) pre(n *html.Node) {
	text := strings.TrimRight(string(appendLines(nil, n)), " \t\n")
	if text == "" {
		return
	}
	fence := strings.Repeat("`", max(3, longestRun(text)+1))
	r.add(block{text: fence + "\n" + text + "\n" + fence})
}

// appendLines appends preformatted text, in which elements begin lines too.
func appendLines(dst []byte, n *html.Node) []byte {
	for c := range n.ChildNodes() {
		switch {
		case c.Type == html.TextNode:
			dst = append(dst, strings.ReplaceAll(c.Data, "\r", "\n")...)
		case c.DataAtom == atom.Br:
			dst = append(dst, '\n')
		case c.DataAtom == atom.Template:
		case makesLines(c.Data):
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

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

type row struct {
	cells []*html.Node
	// head says that the row names the columns.
	head bool
}

// table writes a table. Markdown's cells have one line, so what they hold lies flat in them; a table of one column only
// arranges, and its cells become the blocks that they hold.
func (r *renderer) table(n *html.Node, st style) {
	var rows []row
	for part := range n.ChildNodes() {
		switch part.DataAtom {
		case atom.Caption:
			r.children(part, st)
			r.flush()
		case atom.Thead, atom.Tbody, atom.Tfoot:
			for tr := range part.ChildNodes() {
				if tr.DataAtom == atom.Tr {
					rows = append(rows, newRow(tr, part.DataAtom == atom.Thead))
				}
			}
		}
	}
	columns := 0
	for _, row := range rows {
		columns = max(columns, len(row.cells))
	}
	if columns == 1 && !rows[0].head {
		for _, row := range rows {
			for _, cell := range row.cells {
				r.children(cell, st)
				r.flush()
			}
		}
		return
	}
	var lines []string
	for _, row := range rows {
		line := row.markdown(st)
		if strings.Trim(line, "| ") == "" {
			continue
		}
		if len(lines) == 0 {
			// The first line says how many columns there are, and names them.
			head, named := "|", 0
			if row.head {
				head, named, line = line, len(row.cells), ""
			}
			lines = append(lines, head+strings.Repeat("  |", columns-named), "|"+strings.Repeat(" --- |", columns))
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	r.add(block{text: strings.Join(lines, "\n")})
}

func newRow(tr *html.Node, head bool) row {
	row := row{cells: slices.Collect(tr.ChildNodes())}
	row.cells = slices.DeleteFunc(row.cells, func(n *html.Node) bool { return n.DataAtom != atom.Td && n.DataAtom != atom.Th })
	row.head = len(row.cells) > 0 && (head || !slices.ContainsFunc(row.cells, func(n *html.Node) bool { return n.DataAtom == atom.Td }))
	return row
}

func (r row) markdown(st style) string {
	var out strings.Builder
	for _, cell := range r.cells {
		out.WriteString("| " + strings.ReplaceAll(flat(cell, st, inCell), "|", `\|`) + " ")
	}
	return out.String() + "|"
}
