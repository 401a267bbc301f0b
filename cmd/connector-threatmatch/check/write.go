package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Where the columns of the table end, and the table itself.
const (
	partWidth  = 13
	checkWidth = 12
	lineWidth  = 98
	indent     = 2 + partWidth + 1 + checkWidth + 1
)

var marks = map[Status]string{OK: "✔", Failed: "✘", Untried: "–"}

// mark is that of a finding for people: what is well and yet to be minded has one of its own.
func mark(f Finding) string {
	if f.Status == OK && (f.Remedy != "" || f.Check == checkWarning) {
		return "!"
	}
	return marks[f.Status]
}

// Write writes the findings for people: a line each, and what to do below it. Checks of a part that were not tried for the same
// reason share a line.
func Write(w io.Writer, findings []Finding) error {
	var b strings.Builder
	for i := 0; i < len(findings); i++ {
		f, futile := findings[i], []string{findings[i].Check}
		for isFutile(f) && i+1 < len(findings) && findings[i+1].Part == f.Part && findings[i+1].Detail == f.Detail {
			i++
			futile = append(futile, findings[i].Check)
		}
		if len(futile) > 1 {
			f.Check, f.Detail = "not tried", strings.Join(futile, ", ")+": "+strings.TrimPrefix(f.Detail, notTried)
		}
		fmt.Fprintf(&b, "%s %-*s %-*s ", mark(f), partWidth, f.Part, checkWidth, f.Check)
		wrap(&b, f.Detail, 0)
		if f.Remedy != "" {
			b.WriteString(strings.Repeat(" ", indent) + "→ ")
			wrap(&b, f.Remedy, 2)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func isFutile(f Finding) bool { return f.Status == Untried && strings.HasPrefix(f.Detail, notTried) }

// wrap writes a text behind what stands on the line, and goes on below where it began.
func wrap(b *strings.Builder, text string, further int) {
	column := indent + further
	for i, word := range strings.Fields(text) {
		length := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+length > lineWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent+further))
			column = indent + further
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += length
	}
	b.WriteByte('\n')
}

// WriteJSON writes the findings as a JSON array for scripts.
func WriteJSON(w io.Writer, findings []Finding) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(findings)
}
