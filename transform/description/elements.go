package description

import (
	"strings"

	"golang.org/x/net/html/atom"
)

// element is what is known of a name in a tag.
type element struct {
	// certain names are markup whenever they are written as a tag; many of them need no end tag. The other elements of HTML
	// are words as well ("<time>", "<link>").
	certain bool
	// as is the element that shows the same, of those that are rendered, or what stands in its place; 0 for one that shows
	// nothing of its own.
	as atom.Atom
	// raw says that what stands in it is no markup and not shown.
	raw bool
}

// What stands in the place of some elements: text that is no atom's name.
const (
	asSpace atom.Atom = 1<<32 - 1 - iota
	asQuote
)

// elements holds the elements that are certain or rendered. SVG's and MathML's names are left out, since "<path>" and
// "<text>" are far more often placeholders.
var elements = func() map[string]element {
	m := make(map[string]element, 100)
	for _, e := range []struct {
		certain   bool
		as, names string
	}{
		{true, "p", "p div dl dt html body plaintext"},
		{true, "br", "br dd"},
		{true, "strong", "b strong"},
		{true, "em", "i em"},
		{true, "", "u span font"},
		{false, "p", `head title center section article aside header footer main nav figure figcaption address form fieldset
			legend details summary hgroup search dialog noscript frameset`},
		{false, "ul", "dir menu"},
		{false, "del", "del s strike"},
		{false, "code", "code tt kbd samp"},
		{false, "pre", "listing xmp textarea"},
		{false, "img", "img image"},
		{false, `"`, "q"},
		{false, " ", "option optgroup button select label input"},
	} {
		for n := range strings.FieldsSeq(e.names) {
			m[n] = element{certain: e.certain, as: standsFor(e.as)}
		}
	}
	for n := range strings.FieldsSeq("ul ol li table thead tbody tfoot tr td th h1 h2 h3 h4 h5 h6 pre blockquote hr a caption template") {
		m[n] = element{certain: n != "a" && n != "caption" && n != "template", as: standsFor(n)}
	}
	for _, n := range []string{"script", "style"} {
		m[n] = element{certain: true, raw: true}
	}
	return m
}()

func standsFor(as string) atom.Atom {
	switch as {
	case " ":
		return asSpace
	case `"`:
		return asQuote
	}
	return atom.Lookup([]byte(as))
}

// makesLines says whether what is rendered as this begins lines of its own.
func makesLines(as atom.Atom) bool {
	switch as {
	case 0, asSpace, asQuote, atom.Strong, atom.Em, atom.Del, atom.Code, atom.A, atom.Br, atom.Img, atom.Template:
		return false
	}
	return true
}
