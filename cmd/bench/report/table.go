package report

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// format is how a table is written.
type format bool

const (
	markdown format = true
	terminal format = false
)

// Table writes the figures for a terminal, why some are missing, and what a reader has to know of all.
func (r *Report) Table() string {
	var b strings.Builder
	b.WriteString(r.table(terminal) + "\n")
	var order []string // of the reasons
	rows := map[string][]string{}
	for _, row := range r.Rows {
		why := r.reason(row)
		if why == "" {
			continue
		}
		if rows[why] == nil {
			order = append(order, why)
		}
		rows[why] = append(rows[why], row.Name)
	}
	for _, why := range order {
		fmt.Fprintf(&b, "Not measured: %s (%s).\n", strings.Join(rows[why], ", "), why)
	}
	for _, line := range append(r.circumstances(), r.Machine.busy()) {
		b.WriteString(line + "\n")
	}
	return b.String()
}

func (r *Report) table(as format) string {
	cells := [][]string{{"What", "Median", "Spread", "Goal", "Verdict"}}
	for _, row := range r.Rows {
		missed := r.verdictOn(row) == Missed
		verdict := string(r.verdictOn(row))
		if as == markdown && missed {
			verdict = "**" + verdict + "**"
		}
		if row.Ratio && missed {
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
