package description

import "bytes"

// table collects a table's cells, since Markdown wants the number of columns before the second line. A cell has one line,
// so blocks inside it are parted by spaces; a table inside a table lies flat in its cell.
type table struct {
	// around is the text before the table; the writer's own output holds the cells, one behind the other.
	around []byte
	rows   []row
	row    row
	// cell is where the open cell begins, -1 when none is open.
	cell   int
	inHead bool
	nested int
}

type row struct {
	cells [][2]int
	head  bool
}

func (w *markdownWriter) startTablePart(name string) {
	t := w.table
	switch {
	case name == "table" && t != nil:
		t.nested++
		w.space = true
	case name == "table":
		w.owe(w.paragraphGap())
		w.table = &table{around: w.out, cell: -1}
		w.out = nil
	case t == nil && name == "tr":
		w.owe(hardBreak)
	case t == nil || t.nested > 0:
		w.space = true
	case name == "td" || name == "th":
		t.endCell(w)
		t.row.head = name == "th" && (t.row.head || len(t.row.cells) == 0)
		t.cell = len(w.out)
	default:
		t.endRow(w)
		t.inHead = name == "thead" || t.inHead && name == "tr"
	}
}

func (w *markdownWriter) endTablePart(name string) {
	t := w.table
	switch {
	case t == nil:
		w.space = true
	case name == "table":
		w.endTable()
	case t.nested > 0:
		w.space = true
	case name == "td" || name == "th":
		t.endCell(w)
	default:
		t.endRow(w)
		t.inHead = t.inHead && name == "tr"
	}
}

// enterCell opens a cell for text that stands in none.
func (t *table) enterCell(w *markdownWriter) {
	if t.cell < 0 {
		t.cell = len(w.out)
		t.row.head = t.row.head && len(t.row.cells) > 0
	}
}

func (t *table) cellIsEmpty(w *markdownWriter) bool { return len(w.out) == t.cell }

func (t *table) endCell(w *markdownWriter) {
	if t.cell < 0 {
		w.space, w.owed = false, noGap
		return
	}
	w.interrupt(0)
	t.row.cells = append(t.row.cells, [2]int{t.cell, len(w.out)})
	t.cell = -1
	w.space, w.owed = false, noGap
}

func (t *table) endRow(w *markdownWriter) {
	t.endCell(w)
	for _, c := range t.row.cells {
		if c[1] > c[0] {
			t.row.head = t.row.head || t.inHead
			t.rows = append(t.rows, t.row)
			break
		}
	}
	t.row = row{}
}

func (w *markdownWriter) endTable() {
	t := w.table
	if t.nested > 0 {
		t.nested--
		w.space = true
		return
	}
	t.endRow(w)
	cells := w.out
	w.out, w.table = t.around, nil
	w.owed = blankLine
	if w.nest.fresh() {
		w.owed = newLine
	}
	t.write(w, cells)
	w.owed = blankLine
}

func (t *table) write(w *markdownWriter, cells []byte) {
	columns := 0
	for _, r := range t.rows {
		columns = max(columns, len(r.cells))
	}
	if columns == 0 {
		return
	}
	spans := w.spans
	w.spans = nil
	defer func() { w.spans = spans }()
	if columns == 1 && !t.rows[0].head {
		for _, r := range t.rows {
			w.begin()
			w.out = append(w.out, cells[r.cells[0][0]:r.cells[0][1]]...)
			w.owed = blankLine
		}
		return
	}
	head, body := row{}, t.rows
	if body[0].head {
		head, body = body[0], body[1:]
	}
	head.write(w, cells, columns)
	w.begin()
	w.out = append(w.out, '|')
	w.out = append(w.out, bytes.Repeat([]byte(" --- |"), columns)...)
	w.owed = newLine
	for _, r := range body {
		r.write(w, cells, len(r.cells))
	}
}

func (r row) write(w *markdownWriter, cells []byte, columns int) {
	w.begin()
	w.out = append(w.out, '|')
	for i := range columns {
		w.out = append(w.out, ' ')
		if i < len(r.cells) {
			w.out = append(w.out, bytes.TrimSpace(cells[r.cells[i][0]:r.cells[i][1]])...)
		}
		w.out = append(w.out, " |"...)
	}
	w.owed = newLine
}
