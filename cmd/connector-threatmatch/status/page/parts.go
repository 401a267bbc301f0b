package page

import "strings"

// said is a text in parts.
func said(parts ...string) node { return text(strings.Join(parts, "")) }

// lines puts each node on a line of its own, which keeps a space between those that stand in one line on the screen.
func lines(nodes ...node) group {
	drawn := group{text("\n")}
	for _, n := range nodes {
		if n != nil {
			drawn = append(drawn, n, text("\n"))
		}
	}
	return drawn
}

// each draws a line for each of all.
func each[T any](all []T, draw func(T) node) node {
	if len(all) == 0 {
		return nil
	}
	drawn := make([]node, len(all))
	for i, one := range all {
		drawn[i] = draw(one)
	}
	return group(lines(drawn...)[1 : 2*len(all)])
}

// either is one text or the other.
func either(so bool, one, other string) string {
	if so {
		return one
	}
	return other
}

// marked gives an element its class where something is so.
func marked(so bool, class string) node { return when(so, attr("class", class)) }

// mark is a word that stands out.
func mark(word string) node { return el("strong", attr("class", "mark"), text(word)) }

// soft is what is said beside.
func soft(parts ...string) node { return el("span", attr("class", "soft"), said(parts...)) }

// softly is a paragraph of it.
func softly(nodes ...node) node { return el("p", attr("class", "soft"), group(nodes)) }

// when is a node where something is so.
func when(so bool, n node) node {
	if so {
		return n
	}
	return nil
}

// section is a part of the page with its heading.
func section(id string, heading node, nodes ...node) node {
	return el("section", attr("aria-labelledby", id), lines(append([]node{el("h2", attr("id", id), heading)}, nodes...)...))
}

// clock is a moment for people and machines.
func (m moment) clock() node { return el("time", attr("datetime", m.ISO()), text(m.Clock())) }

// both is when it is and how far from now.
func (m moment) both() node {
	if !m.Known() {
		return text("not known")
	}
	return group{m.clock(), text(" "), soft("(", m.Relative(), ")")}
}

// fact is one of a list of them.
func fact(name string, nodes ...node) node {
	return el("div", el("dt", text(name)), el("dd", nodes...))
}

// column is the heading of one.
func column(nodes ...node) node {
	return el("th", attr("scope", "col"), attr("role", "columnheader"), group(nodes))
}

// row is a line of a table, which a small screen draws as a card.
func row(nodes ...node) node { return el("tr", attr("role", "row"), group(nodes)) }

// cell is one of its figures, whose column's name a small screen shows beside it.
func cell(label, class string, nodes ...node) node {
	return el("td", attr("role", "cell"), attr("data-label", label), marked(class != "", class), el("span", nodes...))
}

// table has the columns that its head names.
func table(caption, head node, rows node) node {
	return el("table", attr("class", "cards"), attr("role", "table"), lines(caption, el("thead", attr("role", "rowgroup"), head), el("tbody", attr("role", "rowgroup"), lines(rows))))
}
