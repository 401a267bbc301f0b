package description

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

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
