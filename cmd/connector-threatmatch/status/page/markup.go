package page

import (
	"bytes"

	"golang.org/x/net/html"
)

// node is what stands in an element: another one, an attribute, a text, or several of these. Nil is nothing.
//
// Texts and the values of attributes are escaped where they are written. What comes from elsewhere becomes one of those, and never an
// address, a style or a script.
type node interface{ addTo(parent *html.Node) }

// element is one of HTML's. It stands in one place.
type element html.Node

// el is an element with what stands in it.
func el(name string, nodes ...node) *element {
	e := &html.Node{Type: html.ElementNode, Data: name}
	group(nodes).addTo(e)
	return (*element)(e)
}

func (e *element) addTo(parent *html.Node) { parent.AppendChild((*html.Node)(e)) }

type attribute html.Attribute

func attr(name, value string) attribute { return attribute{Key: name, Val: value} }

func (a attribute) addTo(parent *html.Node) { parent.Attr = append(parent.Attr, html.Attribute(a)) }

type text string

func (t text) addTo(parent *html.Node) {
	parent.AppendChild(&html.Node{Type: html.TextNode, Data: string(t)})
}

type group []node

func (g group) addTo(parent *html.Node) {
	for _, n := range g {
		if n != nil {
			n.addTo(parent)
		}
	}
}

// drawn is an element as HTML.
func drawn(e *element) []byte {
	var b bytes.Buffer
	_ = html.Render(&b, (*html.Node)(e)) // a buffer takes everything
	return b.Bytes()
}
