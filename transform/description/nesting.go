package description

import (
	"bytes"
	"strconv"
)

// nesting is the lists and quotations around the current line; each gives every line a prefix.
type nesting struct {
	containers []container
	lists      []list
	// low is the smallest number of containers since the last line was written: what lies around the gap.
	low int
	// flatQuotes counts the open quotations beyond [maxNesting].
	flatQuotes int
}

type container struct {
	// marker begins the container's first line; it is "" once written.
	marker string
	// indent begins the others.
	indent string
	quote  bool
}

type list struct {
	ordered bool
	next    int
	// base is the number of containers around the list.
	base int
}

const spaces = "                "

func (n *nesting) appendPrefix(b []byte) []byte {
	for i := range n.containers {
		c := &n.containers[i]
		if c.marker != "" {
			b = append(b, c.marker...)
			c.marker = ""
		} else {
			b = append(b, c.indent...)
		}
	}
	n.low = len(n.containers)
	return b
}

// appendBlank writes the prefix of the empty line in a gap.
func (n *nesting) appendBlank(b []byte) []byte {
	from := len(b)
	for _, c := range n.containers[:min(n.low, len(n.containers))] {
		b = append(b, c.indent...)
	}
	return append(b[:from], bytes.TrimRight(b[from:], " ")...)
}

func (n *nesting) truncate(to int) {
	if to < len(n.containers) {
		n.containers = n.containers[:to]
		n.low = min(n.low, to)
	}
}

// fresh says that the innermost container has no text yet.
func (n *nesting) fresh() bool {
	return len(n.containers) > 0 && n.containers[len(n.containers)-1].marker != ""
}

// inItem says whether the innermost container is a list's item.
func (n *nesting) inItem() bool {
	return len(n.containers) > 0 && !n.containers[len(n.containers)-1].quote
}

func (n *nesting) openList(ordered bool, next int) {
	n.lists = append(n.lists, list{ordered: ordered, next: next, base: len(n.containers)})
}

func (n *nesting) closeList() {
	if len(n.lists) == 0 {
		return
	}
	n.truncate(n.lists[len(n.lists)-1].base)
	n.lists = n.lists[:len(n.lists)-1]
}

func (n *nesting) openItem() {
	if len(n.lists) == 0 {
		n.openList(false, 1)
	}
	l := &n.lists[len(n.lists)-1]
	n.truncate(l.base)
	if l.base >= maxNesting {
		return
	}
	marker := "- "
	if l.ordered {
		marker = strconv.Itoa(l.next) + ". "
		l.next++
	}
	n.containers = append(n.containers, container{marker: marker, indent: spaces[:len(marker)]})
}

func (n *nesting) closeItem() {
	if len(n.lists) > 0 {
		n.truncate(n.lists[len(n.lists)-1].base)
	}
}

func (n *nesting) openQuote() {
	if len(n.containers) >= maxNesting {
		n.flatQuotes++
		return
	}
	n.containers = append(n.containers, container{marker: "> ", indent: "> ", quote: true})
}

// closeQuote closes the innermost quotation, unless a list was opened inside it and is still open.
func (n *nesting) closeQuote() {
	if n.flatQuotes > 0 {
		n.flatQuotes--
		return
	}
	base := 0
	if len(n.lists) > 0 {
		base = n.lists[len(n.lists)-1].base
	}
	for i := len(n.containers) - 1; i >= base; i-- {
		if n.containers[i].quote {
			n.truncate(i)
			return
		}
	}
}
