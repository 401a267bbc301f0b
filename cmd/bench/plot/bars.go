package plot

import "fmt"

// Bar is a value with its name.
type Bar struct {
	Name  string
	Value float64 // not below zero
}

const (
	barPitch  = 30.0
	barHeight = 20.0
	barLeft   = 300.0
	barRight  = 60.0 // for the value of the longest
)

// Bars draws a bar for each value, one below the other. The axis, which has a label, begins at zero.
func Bars(title, axis string, bars []Bar) []byte {
	inside := barPitch * float64(len(bars))
	d := begin(title, head+inside+axisRoom)
	var values []float64
	for _, b := range bars {
		values = append(values, b.Value)
	}
	x := Axis{}.scaleOf(values)
	place := func(v float64) float64 {
		share, _ := x.at(v)
		return barLeft + share*(width-barLeft-barRight)
	}
	for _, v := range x.ticks {
		d.line(place(v), head, place(v), head+inside, "#eee")
		d.text(place(v), head+inside+16, "middle", 12, label(v))
	}
	d.text((barLeft+width-barRight)/2, head+inside+34, "middle", 12, axis)
	for i, b := range bars {
		y := head + barPitch*float64(i) + (barPitch-barHeight)/2
		d.text(barLeft-8, y+barHeight/2+4, "end", 12, b.Name)
		fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", barLeft, y, place(b.Value)-barLeft, barHeight, colour(0))
		d.text(place(b.Value)+6, y+barHeight/2+4, "start", 12, label(b.Value))
	}
	return d.end()
}
