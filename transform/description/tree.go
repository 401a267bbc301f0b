package description

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// tree builds the tree of a description that is tidy: its elements end in the order in which they began, or where HTML lets them
// end without a tag. It is the tree that a parser makes of the same, which takes several times as long. Of all else nothing can
// be said without a parser: then it is untidy.
type tree struct {
	nodes      []html.Node // of which used ones are in the tree
	used       int
	attributes []html.Attribute
	// open are the elements that have not ended, the root first.
	open    []*html.Node
	untidy  bool
	freshly bool // a preformatted block began, of which a line end at the beginning is not shown
}

// mostNodes bounds what is kept from one description to the next.
const mostNodes = 512

// begin begins a tree.
func (t *tree) begin() {
	if t.nodes == nil {
		t.nodes = make([]html.Node, mostNodes)
	}
	clear(t.nodes[:t.used])
	clear(t.attributes)
	*t = tree{nodes: t.nodes, attributes: t.attributes[:0], open: t.open[:0]}
	t.open = append(t.open, t.node(html.ElementNode, atom.Body))
}

func (t *tree) root() *html.Node { return t.open[0] }

func (t *tree) node(typ html.NodeType, as atom.Atom) *html.Node {
	if t.used == len(t.nodes) {
		return &html.Node{Type: typ, DataAtom: as}
	}
	n := &t.nodes[t.used]
	t.used++
	n.Type, n.DataAtom = typ, as
	return n
}

// top is the innermost open element.
func (t *tree) top() *html.Node { return t.open[len(t.open)-1] }

// from returns the place of the innermost open element that is none of some, from a place on outwards.
func (t *tree) from(i int, but ...atom.Atom) int {
	for ; i > 0; i-- {
		is := t.open[i].DataAtom
		other := true
		for _, b := range but {
			other = other && is != b
		}
		if other {
			break
		}
	}
	return i
}

func (t *tree) text(s string) {
	if t.freshly && s != "" {
		t.freshly = false
		s = strings.TrimPrefix(s, "\n")
	}
	if s == "" {
		return
	}
	if strings.IndexByte(s, '\r') >= 0 || strings.IndexByte(s, 0) >= 0 || arranges(t.top()) && strings.Trim(s, " \t\n\f") != "" {
		t.untidy = true
		return
	}
	if last := t.top().LastChild; last != nil && last.Type == html.TextNode && t.isBesideItems() {
		last.Data += s // what counts is whether the whole text shows anything
		return
	}
	n := t.node(html.TextNode, 0)
	n.Data = s
	t.top().AppendChild(n)
}

// isBesideItems says whether text stands in a list but in none of its items.
func (t *tree) isBesideItems() bool {
	at := t.from(len(t.open)-1, atom.Strong, atom.Em, atom.Del, atom.Code, atom.A)
	return t.open[at].DataAtom == atom.Ul || t.open[at].DataAtom == atom.Ol
}

// arranges says whether an element is one of those around the cells of a table, in which nothing else can stand.
func arranges(n *html.Node) bool {
	switch n.DataAtom {
	case atom.Table, atom.Thead, atom.Tbody, atom.Tfoot, atom.Tr:
		return true
	}
	return false
}

func (t *tree) start(as atom.Atom, attributes string) {
	t.freshly = false
	switch as {
	case atom.Thead, atom.Tbody, atom.Tfoot, atom.Tr, atom.Td, atom.Th:
		t.part(as)
		return
	case atom.P, atom.Ul, atom.Ol, atom.Pre, atom.Blockquote, atom.Hr, atom.Table:
		t.endParagraph()
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		t.endParagraph()
		t.untidy = t.untidy || isHeading(t.top())
	case atom.Li:
		t.endItem()
		t.endParagraph()
	case atom.A:
		for _, n := range t.open {
			t.untidy = t.untidy || n.DataAtom == atom.A
		}
	case atom.Caption, atom.Template:
		t.untidy = true
	}
	if t.untidy || arranges(t.top()) {
		t.untidy = true
		return
	}
	n := t.add(as)
	switch as {
	case atom.A:
		t.attribute(n, attributes, "href")
	case atom.Ol:
		t.attribute(n, attributes, "start")
	case atom.Img:
		t.attribute(n, attributes, "src", "alt")
	case atom.Pre:
		t.freshly = true
	}
	if as == atom.Br || as == atom.Hr || as == atom.Img {
		t.open = t.open[:len(t.open)-1]
	}
}

func isHeading(n *html.Node) bool {
	switch n.DataAtom {
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		return true
	}
	return false
}

// add begins an element.
func (t *tree) add(as atom.Atom) *html.Node {
	n := t.node(html.ElementNode, as)
	n.Data = as.String()
	t.top().AppendChild(n)
	t.open = append(t.open, n)
	return n
}

func (t *tree) attribute(n *html.Node, attributes string, names ...string) {
	from := len(t.attributes)
	for _, name := range names {
		value, plain := plainValue(attributes, name)
		t.untidy = t.untidy || !plain
		t.attributes = append(t.attributes, html.Attribute{Key: name, Val: value})
	}
	n.Attr = t.attributes[from:len(t.attributes):len(t.attributes)]
}

// paragraph returns the place of the open paragraph that the next block ends, 0 for none.
func (t *tree) paragraph() int {
	for i := len(t.open) - 1; i > 0; i-- {
		switch t.open[i].DataAtom {
		case atom.P:
			return i
		case atom.Table, atom.Td, atom.Th:
			return 0
		}
	}
	return 0
}

func (t *tree) endParagraph() {
	if at := t.paragraph(); at > 0 {
		t.close(at)
	}
}

// close ends an element, which has to be the innermost one.
func (t *tree) close(at int) {
	t.untidy = t.untidy || at != len(t.open)-1
	t.open = t.open[:at]
}

// endItem ends the item before the next one.
func (t *tree) endItem() {
	for i := len(t.open) - 1; i > 0; i-- {
		switch t.open[i].DataAtom {
		case atom.Li:
			t.untidy = t.untidy || t.from(len(t.open)-1, atom.P) != i
			t.open = t.open[:i]
			return
		case atom.P, atom.Strong, atom.Em, atom.Del, atom.Code, atom.A:
		default:
			return
		}
	}
}

// part begins a part of a table, and those around it that HTML begins without a tag.
func (t *tree) part(as atom.Atom) {
	at := t.from(len(t.open)-1, atom.P)
	if is := t.open[at].DataAtom; is == atom.Td || is == atom.Th {
		at--
	}
	if as != atom.Td && as != atom.Th {
		at = t.from(at, atom.Tr)
	}
	if as != atom.Td && as != atom.Th && as != atom.Tr {
		at = t.from(at, atom.Thead, atom.Tbody, atom.Tfoot)
	}
	t.open = t.open[:at+1]
	if !arranges(t.top()) {
		t.untidy = true
		return
	}
	if t.top().DataAtom == atom.Table && (as == atom.Tr || as == atom.Td || as == atom.Th) {
		t.add(atom.Tbody)
	}
	if t.top().DataAtom != atom.Tr && (as == atom.Td || as == atom.Th) {
		t.add(atom.Tr)
	}
	t.add(as)
}

func (t *tree) end(as atom.Atom) {
	t.freshly = false
	at := len(t.open) - 1
	switch as {
	case atom.P:
		if at = t.paragraph(); at == 0 {
			t.untidy = t.untidy || arranges(t.top())
			t.add(as)
			at = len(t.open) - 1
		}
		t.close(at)
		return
	case atom.Ul, atom.Ol, atom.Blockquote, atom.Pre, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		at = t.from(at, atom.P, atom.Li)
	case atom.Li, atom.Td, atom.Th:
		at = t.from(at, atom.P)
	case atom.Tr:
		at = t.from(at, atom.P, atom.Td, atom.Th)
	case atom.Thead, atom.Tbody, atom.Tfoot:
		at = t.from(at, atom.P, atom.Td, atom.Th, atom.Tr)
	case atom.Table:
		at = t.from(at, atom.P, atom.Td, atom.Th, atom.Tr, atom.Thead, atom.Tbody, atom.Tfoot)
	}
	if at == 0 || t.open[at].DataAtom != as {
		t.untidy = true
		return
	}
	t.open = t.open[:at]
}
