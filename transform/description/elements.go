package description

// class says how much a name alone tells about a "<name" in a text.
type class uint8

const (
	// unknown names are placeholders ("<username>") unless their partner tag shows that they are markup.
	unknown class = iota
	// ambiguous names are elements and words at once ("<time>", "<link>"): they need an attribute or a partner.
	ambiguous
	// certain names are markup whenever they are written as a tag; many of them need no end tag.
	certain
)

// element is what the converters must know of an element.
type element struct {
	class class
	// void elements have no content and no end tag.
	void bool
	// block elements stand on lines of their own.
	block bool
}

// elements holds the elements of HTML; SVG's and MathML's names count as unknown, since "<path>" and "<text>" are far more
// often placeholders.
var elements = func() map[string]element {
	m := make(map[string]element, 160)
	add := func(e element, names ...string) {
		for _, n := range names {
			m[n] = e
		}
	}
	add(element{class: certain}, "b", "i", "u", "em", "strong", "span", "font", "script", "style")
	add(element{class: certain, void: true}, "br")
	add(element{class: certain, void: true, block: true}, "hr")
	add(element{class: certain, block: true}, "p", "div", "ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody",
		"tfoot", "tr", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "html", "body", "plaintext")
	add(element{class: ambiguous, block: true}, "head", "title", "center", "section", "article", "aside", "header", "footer",
		"main", "nav", "figure", "figcaption", "address", "form", "fieldset", "legend", "details", "summary", "caption",
		"dir", "menu", "hgroup", "search", "dialog", "noscript", "frameset", "optgroup", "option", "listing", "xmp")
	add(element{class: ambiguous}, "a", "abbr", "acronym", "audio", "bdi", "bdo", "big", "blink", "button", "canvas", "cite",
		"code", "colgroup", "data", "datalist", "del", "dfn", "iframe", "ins", "kbd", "label", "map", "mark", "marquee",
		"math", "meter", "nobr", "noembed", "noframes", "object", "output", "picture", "progress", "q", "rb", "rp", "rt",
		"rtc", "ruby", "s", "samp", "select", "slot", "small", "strike", "sub", "sup", "svg", "template", "textarea", "time",
		"tt", "var", "video", "applet")
	add(element{class: ambiguous, void: true}, "area", "base", "basefont", "bgsound", "col", "command", "embed", "frame",
		"image", "img", "input", "isindex", "keygen", "link", "menuitem", "meta", "nextid", "param", "source", "spacer",
		"track", "wbr")
	return m
}()

// bareAttributes are the attributes that stand without a value in real HTML. Any other word there ("if a<b then …>")
// shows that the text is no tag.
var bareAttributes = func() map[string]bool {
	m := make(map[string]bool)
	for _, n := range []string{"allowfullscreen", "async", "autofocus", "autoplay", "checked", "class", "compact", "controls",
		"declare", "default", "defer", "disabled", "download", "hidden", "href", "id", "inert", "ismap", "itemscope", "loop",
		"multiple", "muted", "nohref", "nomodule", "noshade", "novalidate", "nowrap", "open", "playsinline", "readonly",
		"required", "reversed", "scoped", "selected", "style", "title", "alt", "contenteditable", "border", "dir"} {
		m[n] = true
	}
	return m
}()
