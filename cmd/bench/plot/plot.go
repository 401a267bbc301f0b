// Package plot draws curves and bars as SVG, for reports that people read in a browser or beside a text.
package plot

import (
	"bytes"
	"fmt"
	"html"
)

// Point is one value of a curve.
type Point struct{ X, Y float64 }

// Curve is a line through points, in their order.
type Curve struct {
	Name   string // in the legend; "" for none
	Points []Point
	Dotted bool // for what was worked out and not measured
	Dots   bool // marks each point: for few
}

// Mark is a moment at which something happened; its text shows where a pointer rests on it.
type Mark struct {
	X    float64
	Text string
}

// Panel is one coordinate system.
type Panel struct {
	Title  string
	X, Y   Axis
	Curves []Curve
	Marks  []Mark
}

// The measures of a drawing, in its own units.
const (
	width     = 900.0
	height    = 230.0 // of a panel's inside
	left      = 80.0
	right     = 20.0
	head      = 40.0
	titleRoom = 28.0
	axisRoom  = 46.0
	pitch     = titleRoom + height + axisRoom
)

// colours tell curves and parts apart, also for those who see no difference between red and green.
var colours = []string{"#0b5394", "#d95f02", "#1b9e77", "#7b3294", "#a6761d", "#c51b7d", "#4d4d4d", "#66a3d2"}

func colour(i int) string { return colours[i%len(colours)] }

// Lines draws panels one below the other under a title.
func Lines(title string, panels ...Panel) []byte {
	d := begin(title, head+pitch*float64(len(panels)))
	for i, p := range panels {
		d.panel(p, head+pitch*float64(i)+titleRoom)
	}
	return d.end()
}

// drawing is an SVG under way.
type drawing struct{ bytes.Buffer }

func begin(title string, tall float64) *drawing {
	d := new(drawing)
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" font-family="sans-serif" font-size="12">`+"\n", width, tall, width, tall)
	fmt.Fprintf(d, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	d.text(left, 24, "start", 16, title)
	return d
}

func (d *drawing) end() []byte {
	d.WriteString("</svg>\n")
	return d.Bytes()
}

func (d *drawing) text(x, y float64, anchor string, size int, text string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(text))
}

func (d *drawing) line(x1, y1, x2, y2 float64, stroke string) {
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, stroke)
}

// panel draws a coordinate system whose inside begins at a height.
func (d *drawing) panel(p Panel, top float64) {
	var xs, ys []float64
	for _, c := range p.Curves {
		for _, at := range c.Points {
			xs, ys = append(xs, at.X), append(ys, at.Y)
		}
	}
	for _, m := range p.Marks {
		xs = append(xs, m.X)
	}
	x, y := p.X.scaleOf(xs), p.Y.scaleOf(ys)
	place := func(at Point) (px, py float64, ok bool) {
		sx, okX := x.at(at.X)
		sy, okY := y.at(at.Y)
		return left + sx*(width-left-right), top + (1-sy)*height, okX && okY
	}
	d.text(left, top-8, "start", 13, p.Title)
	d.grid(p, x, y, top)
	for _, m := range p.Marks {
		if sx, ok := x.at(m.X); ok {
			px := left + sx*(width-left-right)
			fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ccc"><title>%s</title></line>`+"\n", px, top, px, top+height, html.EscapeString(m.Text))
		}
	}
	for i, c := range p.Curves {
		d.curve(c, colour(i), place)
	}
	d.legend(p.Curves, top-8)
}

// grid draws the axes, their ticks and what they are of.
func (d *drawing) grid(p Panel, x, y scale, top float64) {
	for _, v := range x.ticks {
		if s, ok := x.at(v); ok {
			px := left + s*(width-left-right)
			d.line(px, top, px, top+height, "#eee")
			d.text(px, top+height+16, "middle", 12, label(v))
		}
	}
	for _, v := range y.ticks {
		if s, ok := y.at(v); ok {
			py := top + (1-s)*height
			d.line(left, py, width-right, py, "#eee")
			d.text(left-6, py+4, "end", 12, label(v))
		}
	}
	fmt.Fprintf(d, `<path d="M%.1f %.1fV%.1fH%.1f" fill="none" stroke="black"/>`+"\n", left, top, top+height, width-right)
	d.text((left+width-right)/2, top+height+34, "middle", 12, p.X.Label)
	fmt.Fprintf(d, `<text transform="translate(18 %.1f) rotate(-90)" text-anchor="middle">%s</text>`+"\n", top+height/2, html.EscapeString(p.Y.Label))
}

func (d *drawing) curve(c Curve, stroke string, place func(Point) (x, y float64, ok bool)) {
	dash := ""
	if c.Dotted {
		dash = ` stroke-dasharray="3 4"`
	}
	fmt.Fprintf(d, `<polyline fill="none" stroke="%s" stroke-width="1.7"%s points="`, stroke, dash)
	for _, at := range c.Points {
		if x, y, ok := place(at); ok {
			fmt.Fprintf(d, "%.1f,%.1f ", x, y)
		}
	}
	d.WriteString("\"/>\n")
	if !c.Dots {
		return
	}
	for _, at := range c.Points {
		if x, y, ok := place(at); ok {
			fmt.Fprintf(d, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%s: %s</title></circle>`+"\n", x, y, stroke, label(at.X), label(at.Y))
		}
	}
}

// legend names the curves from the right to the left, on the line of the title.
func (d *drawing) legend(curves []Curve, y float64) {
	x := width - right
	for i := len(curves) - 1; i >= 0; i-- {
		if curves[i].Name == "" {
			continue
		}
		d.text(x, y, "end", 12, curves[i].Name)
		x -= 6.6*float64(len([]rune(curves[i].Name))) + 8
		fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="14" height="4" fill="%s"/>`+"\n", x-14, y-6, colour(i))
		x -= 30
	}
}
