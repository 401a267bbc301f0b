package description

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// reader reads HTML as a person does: it writes down which characters are shown, on which lines, in which items, quotations
// and headings, and in which style. What is shown alike is written alike: styles of white space, how far paragraphs lie
// apart, and a link whose text is its own address are not told; nor is whether a bar behind a backslash is code, which it cannot
// be in a table.
type reader struct {
	out   strings.Builder
	style string
	// prefixes are the items and so on that are open; an item's mark is written once.
	prefixes []string
	// space and line are owed until something visible follows; indent counts the spaces of code.
	space, line bool
	indent      int
	// flat says that everything has one line.
	flat bool
}

// look is the style of what is read.
type look struct {
	strong, em, del, code, pre bool
	href                       string
}

func (l look) String() string {
	if l.pre {
		return "pre"
	}
	var s strings.Builder
	for i, on := range []bool{l.strong, l.em, l.del, l.code} {
		if on {
			s.WriteByte("bisc"[i])
		}
	}
	if l.href != "" {
		s.WriteString("→" + l.href)
	}
	return s.String()
}

// see returns what a reader sees of HTML.
func see(t testing.TB, text string) string {
	t.Helper()
	nodes, err := html.ParseFragment(strings.NewReader(text), &html.Node{Type: html.ElementNode, Data: "body", DataAtom: atom.Body})
	if err != nil {
		t.Fatalf("parse %q: %v", text, err)
	}
	var r reader
	for _, n := range nodes {
		r.read(n, look{})
	}
	return r.out.String()
}

var github = goldmark.New(goldmark.WithExtensions(extension.GFM))

// rendered returns the HTML that GitHub makes of Markdown.
func rendered(t testing.TB, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := github.Convert([]byte(text), &out); err != nil {
		t.Fatalf("render %q: %v", text, err)
	}
	return out.String()
}

// seeDescription returns what a reader sees of a description, if what only looks like a tag is text.
func seeDescription(t testing.TB, s string) string {
	t.Helper()
	marked, blocks := survey(s)
	if !marked {
		return see(t, strings.ReplaceAll(html.EscapeString(decode(s)), "\n\n", "<p>"))
	}
	return see(t, strings.Join(slices.Collect(clean(s, !blocks)), ""))
}

// characters returns those that HTML shows, but no white space.
func characters(t testing.TB, text string) string {
	t.Helper()
	document, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatalf("parse %q: %v", text, err)
	}
	var out strings.Builder
	for n := range document.Descendants() {
		if n.Type == html.TextNode && n.Parent.DataAtom != atom.Script && n.Parent.DataAtom != atom.Style && n.Parent.DataAtom != atom.Template {
			out.WriteString(n.Data)
		}
	}
	return withoutGaps(out.String())
}

func withoutGaps(s string) string { return strings.Join(strings.FieldsFunc(s, isGap), "") }

// isHTML says whether a browser takes the same for tags and references as the scanner.
func isHTML(s string) bool {
	var browser, here strings.Builder
	tokens := html.NewTokenizer(strings.NewReader(s))
	rest := len(s)
	for tokens.Next() != html.ErrorToken {
		raw := string(tokens.Raw())
		rest -= len(raw)
		if t := tokens.Token(); t.Type == html.StartTagToken || t.Type == html.EndTagToken || t.Type == html.SelfClosingTagToken {
			browser.WriteString("<" + t.Data)
			if strings.LastIndexByte(raw, '<') > 0 {
				return false
			}
		}
	}
	for sc := newScanner(s); ; {
		t, ok := sc.next()
		switch {
		case !ok:
			return rest == 0 && !strings.Contains(s, "\x00") && browser.String() == here.String()
		case t.kind == plain && decode(t.raw) != html.UnescapeString(t.raw):
			return false
		case t.kind == startTag || t.kind == endTag:
			here.WriteString("<" + t.name)
		}
	}
}

func (r *reader) show(s string, l look) {
	if r.line || r.out.Len() == 0 {
		r.restyle("")
		if r.out.Len() > 0 {
			r.out.WriteByte('\n')
		}
		for i, p := range r.prefixes {
			r.out.WriteString(p)
			if p != "> " {
				r.prefixes[i] = strings.Repeat(" ", len(p))
			}
		}
	} else if r.space {
		r.out.WriteByte(' ')
	}
	r.line, r.space = false, false
	r.restyle(l.String())
	r.out.WriteString(s)
}

func (r *reader) restyle(to string) {
	if to != r.style {
		r.out.WriteString("⟦" + to + "⟧")
	}
	r.style = to
}

func (r *reader) text(s string, l look) {
	for _, c := range s {
		switch {
		case l.pre && c == '\n':
			r.line, r.indent = true, 0
		case l.pre && c == ' ':
			r.indent++
		case isGap(c):
			r.space = true
		default:
			for ; r.indent > 0; r.indent-- {
				r.show(" ", l)
			}
			look := l
			look.code = l.code && !(c == '|' && strings.HasSuffix(r.out.String(), `\`))
			r.show(string(c), look)
		}
	}
}

func (r *reader) children(n *html.Node, l look) {
	for c := range n.ChildNodes() {
		r.read(c, l)
	}
}

// block reads what has lines of its own.
func (r *reader) block(n *html.Node, l look) {
	r.end()
	r.children(n, l)
	r.end()
}

func (r *reader) end() {
	if r.flat {
		r.space = true
	} else {
		r.line = true
	}
}

func (r *reader) inside(mark string, flat bool, n *html.Node, l look) {
	r.end()
	if r.flat {
		mark = ""
	}
	was := r.flat
	r.flat = r.flat || flat
	r.prefixes = append(r.prefixes, mark)
	r.children(n, l)
	r.prefixes = r.prefixes[:len(r.prefixes)-1]
	r.flat = was
	r.end()
}

func (r *reader) read(n *html.Node, l look) {
	switch n.DataAtom {
	case atom.Strong:
		l.strong = true
		r.children(n, l)
	case atom.Em:
		l.em = true
		r.children(n, l)
	case atom.Del:
		l.del = true
		r.children(n, l)
	case atom.Code:
		l.code = true
		r.children(n, l)
	case atom.A:
		r.link(n, l)
	case atom.Img:
		if src := unescaped(destination(attr(n, "src"))); src == "" {
			r.text(attr(n, "alt"), l)
		} else {
			r.show("🖼"+strings.Join(strings.Fields(attr(n, "alt")), " ")+"|"+src, l)
		}
	case atom.Input:
		r.show("☐", l)
	case atom.Hr:
		r.end()
		if !r.flat {
			r.show("―", look{})
		}
		r.end()
	case atom.Pre:
		l.pre = !r.flat
		r.block(n, l)
	case atom.Blockquote:
		r.inside("> ", false, n, l)
	case atom.Li:
		r.inside(bullet(n), false, n, l)
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		r.inside(n.Data+" ", true, n, l)
	case atom.Td, atom.Th:
		r.inside("", n.DataAtom == atom.Th || !alone(n), n, l)
	case atom.Br:
		r.end()
	case atom.P, atom.Ul, atom.Ol, atom.Table, atom.Tr, atom.Caption:
		r.block(n, l)
	case atom.Template:
	default:
		if n.Type == html.TextNode {
			r.text(n.Data, l)
		} else {
			r.children(n, l)
		}
	}
}

// link reads a link: one without content shows its address.
func (r *reader) link(n *html.Node, l look) {
	href := unescaped(destination(attr(n, "href")))
	if n.FirstChild == nil && href != "" {
		r.text(href, l)
		return
	}
	var text strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			text.WriteString(d.Data)
		}
	}
	if s := strings.TrimSpace(text.String()); len(s) < 5 || !strings.HasSuffix(href, s) {
		l.href = href
	}
	r.children(n, l)
}

func unescaped(address string) string {
	if plain, err := url.PathUnescape(address); err == nil {
		return plain
	}
	return address
}

func bullet(item *html.Node) string {
	for n := range item.Ancestors() {
		switch n.DataAtom {
		case atom.Ul:
			return "- "
		case atom.Ol:
			return "1 "
		}
	}
	return "- "
}

// alone says whether a cell has its row for itself.
func alone(cell *html.Node) bool {
	n := 0
	for c := range cell.Parent.ChildNodes() {
		if c.Type == html.ElementNode {
			n++
		}
	}
	return n == 1
}
