package description

import (
	"bytes"
	"strconv"
)

// start handles a start tag.
func (w *markdownWriter) start(t token) {
	if w.unseen > 0 || t.name == "template" {
		if t.name == "template" {
			w.unseen++
		}
		return
	}
	if w.pre != nil {
		if t.name == "br" {
			w.pre = append(w.pre, '\n')
		}
		return
	}
	if k := spanOf[t.name]; k != noSpan {
		w.openSpan(k, t)
		return
	}
	switch t.name {
	case "br":
		w.breakLine()
	case "img", "image":
		w.image(t)
	case "q":
		w.literal(`"`)
	case "table", "tr", "td", "th", "thead", "tbody", "tfoot":
		w.startTablePart(t.name)
	case "option", "optgroup", "input", "button":
		w.space = true
	default:
		if elements[t.name].block {
			w.startBlock(t)
		}
	}
}

func (w *markdownWriter) startBlock(t token) {
	if w.table != nil {
		w.space = true
		return
	}
	switch t.name {
	case "ul", "ol", "menu", "dir":
		w.owe(w.listGap())
		next := 1
		if n, err := strconv.Atoi(t.attr("start")); err == nil && n >= 0 && n < 1e9 {
			next = n
		}
		w.nest.openList(t.name == "ol", next)
	case "li":
		w.owe(newLine)
		w.nest.openItem()
	case "blockquote":
		w.owe(w.paragraphGap())
		w.nest.openQuote()
	case "dd":
		w.owe(newLine)
		w.owed = min(w.owed, hardBreak)
	case "hr":
		w.owe(w.paragraphGap())
		w.heading = 0
		w.begin()
		w.out = append(w.out, "---"...)
		w.owe(blankLine)
	case "pre", "listing", "xmp":
		w.owe(w.paragraphGap())
		w.heading = 0
		w.pre = make([]byte, 0, 64)
	case "h1", "h2", "h3", "h4", "h5", "h6":
		w.owe(w.paragraphGap())
		w.heading, w.inHeading = int(t.name[1]-'0'), true
	default:
		w.owe(w.paragraphGap())
	}
}

// paragraphGap is the gap before a block: none of its own when an item or a quotation has only just begun.
func (w *markdownWriter) paragraphGap() gap {
	if w.nest.fresh() {
		return newLine
	}
	return blankLine
}

// listGap keeps a list that stands in an item close to the item's text.
func (w *markdownWriter) listGap() gap {
	if w.nest.inItem() {
		return newLine
	}
	return w.paragraphGap()
}

// end handles an end tag.
func (w *markdownWriter) end(name string) {
	if name == "template" {
		w.unseen = max(0, w.unseen-1)
		return
	}
	if w.unseen > 0 {
		return
	}
	if w.pre != nil {
		if name == "pre" || name == "listing" || name == "xmp" {
			w.endPre()
		}
		return
	}
	if k := spanOf[name]; k != noSpan {
		w.closeSpan(k)
		return
	}
	switch name {
	case "q":
		w.literal(`"`)
	case "table", "tr", "td", "th", "thead", "tbody", "tfoot":
		w.endTablePart(name)
	case "option", "button":
		w.space = true
	default:
		if elements[name].block && !elements[name].void {
			w.endBlock(name)
		}
	}
}

func (w *markdownWriter) endBlock(name string) {
	if w.table != nil {
		w.space = true
		return
	}
	switch name {
	case "ul", "ol", "menu", "dir":
		w.nest.closeList()
		w.owe(w.listGap())
	case "li":
		w.owe(newLine)
		w.nest.closeItem()
	case "blockquote":
		w.owe(blankLine)
		w.nest.closeQuote()
	case "dt", "dd":
		w.owe(newLine)
	case "h1", "h2", "h3", "h4", "h5", "h6":
		w.heading, w.inHeading = 0, false
		w.owe(blankLine)
	default:
		w.owe(w.paragraphGap())
	}
}

// endPre writes a preformatted block between fences that are longer than any in it.
func (w *markdownWriter) endPre() {
	if w.pre == nil {
		return
	}
	content := bytes.ReplaceAll(w.pre, []byte("\r\n"), []byte("\n"))
	w.pre = nil
	content = bytes.TrimRight(bytes.TrimPrefix(content, []byte("\n")), " \t\r\n")
	if len(content) == 0 {
		return
	}
	fence := bytes.Repeat([]byte("`"), longestRun(content, '`', 2)+1)
	spans := w.spans
	w.spans = nil
	w.begin()
	w.out = append(w.out, fence...)
	for line := range bytes.SplitSeq(content, []byte("\n")) {
		w.out = append(w.out, '\n')
		w.out = append(w.nest.appendPrefix(w.out), line...)
	}
	w.out = append(w.out, '\n')
	w.out = append(w.nest.appendPrefix(w.out), fence...)
	w.spans = spans
	w.owe(blankLine)
}
