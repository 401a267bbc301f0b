package report

import (
	"strings"
	"unicode/utf8"
)

// format is how a table is written.
type format bool

const (
	markdown format = true
	terminal format = false
)

// Table writes the figures for a terminal.
func (r *Report) Table() string { return r.table(terminal) }

func (r *Report) table(as format) string {
	cells := [][]string{{"What", "Median", "Spread", "Goal", "Verdict"}}
	for _, row := range r.Rows {
		verdict := string(row.Verdict())
		if as == markdown && row.Verdict() == Missed {
			verdict = "**" + verdict + "**"
		}
		if row.Ratio && row.Verdict() == Missed {
			verdict += " (decides)"
		}
		cells = append(cells, []string{row.What, row.figure(), row.spread(), row.goal(), verdict})
	}
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, line := range cells {
		for i, cell := range line {
			blanks := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 1 { // figures stand below each other
				cell, blanks = blanks+cell, ""
			}
			switch {
			case as == markdown:
				b.WriteString("| " + cell + blanks + " ")
			case i > 0:
				b.WriteString("  " + cell + blanks)
			default:
				b.WriteString(cell + blanks)
			}
		}
		if as == markdown {
			b.WriteString("|")
		}
		b.WriteString("\n")
		if n == 0 && as == markdown {
			b.WriteString("|---|--:|---|---|---|\n")
		}
	}
	if as == markdown {
		return b.String()
	}
	var trimmed strings.Builder
	for line := range strings.Lines(b.String()) {
		trimmed.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return trimmed.String()
}
