package description

import (
	"bytes"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// row is one of a table.
type row struct {
	tr    *html.Node
	cells int
	// head says that the row names the columns.
	head bool
}

// table writes a table. Markdown's cells have one line, so what they hold lies flat in them; a table of one column only
// arranges, and its cells become the blocks that they hold.
func (r *renderer) table(n *html.Node, st style) {
	var room [16]row
	rows, columns := room[:0], 0
	for part := n.FirstChild; part != nil; part = part.NextSibling {
		switch part.DataAtom {
		case atom.Caption:
			r.children(part, st)
			r.flush()
		case atom.Thead, atom.Tbody, atom.Tfoot:
			for tr := part.FirstChild; tr != nil; tr = tr.NextSibling {
				if tr.DataAtom == atom.Tr {
					row := newRow(tr, part.DataAtom == atom.Thead)
					rows, columns = append(rows, row), max(columns, row.cells)
				}
			}
		}
	}
	if columns == 1 && !rows[0].head {
		for _, row := range rows {
			for cell := nextCell(row.tr.FirstChild); cell != nil; cell = nextCell(cell.NextSibling) {
				r.children(cell, st)
				r.flush()
			}
		}
		return
	}
	from := len(r.paper.text)
	for _, row := range rows {
		r.paper.row(row, st, columns, len(r.paper.text) == from)
	}
	r.add(block{text: r.paper.since(from)})
}

func newRow(tr *html.Node, head bool) row {
	row, allHead := row{tr: tr}, true
	for cell := nextCell(tr.FirstChild); cell != nil; cell = nextCell(cell.NextSibling) {
		row.cells++
		allHead = allHead && cell.DataAtom == atom.Th
	}
	row.head = row.cells > 0 && (head || allHead)
	return row
}

// nextCell returns a node, or the first one behind it that is a cell, nil for none.
func nextCell(n *html.Node) *html.Node {
	for n != nil && n.DataAtom != atom.Td && n.DataAtom != atom.Th {
		n = n.NextSibling
	}
	return n
}

// row writes a row that shows anything. The first one says how many columns there are, and names them.
func (p *paper) row(row row, st style, columns int, first bool) {
	before := len(p.text)
	switch {
	case !first:
		p.write("\n")
	case !row.head:
		p.write("|")
		p.endHead(columns, 0)
		p.write("\n")
	}
	from := len(p.text)
	p.cells(row.tr, st)
	if len(bytes.Trim(p.text[from:], "| ")) == 0 {
		p.text = p.text[:before]
		return
	}
	if first && row.head {
		p.endHead(columns, row.cells)
	}
}

// endHead ends the line that names the columns, of which some are named, and parts it from the others.
func (p *paper) endHead(columns, named int) {
	for range columns - named {
		p.write("  |")
	}
	p.write("\n|")
	for range columns {
		p.write(" --- |")
	}
}

// cells writes the cells of a row.
func (p *paper) cells(tr *html.Node, st style) {
	for cell := nextCell(tr.FirstChild); cell != nil; cell = nextCell(cell.NextSibling) {
		p.write("| ")
		from := len(p.text)
		p.flat(cell, st, inCell)
		if text := p.text[from:]; bytes.IndexByte(text, '|') >= 0 {
			p.text = append(p.text[:from], bytes.ReplaceAll(text, []byte("|"), []byte(`\|`))...)
		}
		p.write(" ")
	}
	p.write("|")
}
