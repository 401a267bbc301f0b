package connector

import "time"

// pace tells from how a pass has got on of late how long the rest of it will take. The whole run would not do: the requests go
// to fewer datasets when others are done, and the indicators of a window, whose positions are dates, lie thick in one year and
// thin in another.
type pace struct {
	marks []mark // oldest first
}

// mark is what share of a pass was behind it at a moment, after so many pages.
type mark struct {
	at    time.Time
	share float64
	pages int
}

const (
	paceOf   = 5 * time.Minute  // ago: long enough that a slow answer does not decide
	paceMark = 10 * time.Second // between two marks: bounds them to 31
	enough   = 0.001            // of a pass, to tell its pace from
)

// reached takes note of a share, from 0 to 1, and of the pages up to there.
func (p *pace) reached(share float64, pages int, now time.Time) {
	if n := len(p.marks); n > 0 && now.Sub(p.marks[n-1].at) < paceMark {
		return
	}
	for len(p.marks) > 1 && now.Sub(p.marks[1].at) >= paceOf {
		p.marks = p.marks[1:]
	}
	p.marks = append(p.marks, mark{now, share, pages})
}

// left is how long the rest takes when a share is reached now; known is false where too little is behind it to tell.
func (p *pace) left(share float64, now time.Time) (d time.Duration, known bool) {
	gone, known := p.gone(share)
	if !known {
		return 0, false
	}
	return time.Duration(float64(now.Sub(p.marks[0].at)) * (1 - share) / gone), true
}

// pagesLeft is how many pages the rest takes when a share is reached with so many, likewise.
func (p *pace) pagesLeft(share float64, pages int) (n float64, known bool) {
	gone, known := p.gone(share)
	if !known {
		return 0, false
	}
	return float64(pages-p.marks[0].pages) * (1 - share) / gone, true
}

// gone is the share since the first mark.
func (p *pace) gone(share float64) (gone float64, known bool) {
	if len(p.marks) == 0 {
		return 0, false
	}
	gone = share - p.marks[0].share
	return gone, gone >= enough
}
