package fetch

import (
	"hash/maphash"
	"strconv"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// position is where the paging of indicators stands.
//
// Nobody knows whether the API reads a bound as > or >=, nor whether it rounds it down, and a page can end between
// indicators that share a modified. So the next bound lies one unit below the newest modified, which both readings
// answer with everything at that moment, and what was seen there already is skipped. When that leads no further, the
// bound climbs by the steps of [position.step]; every bound asked is above the one before, so paging ends.
//
// Nor does anybody know that the API orders by what it prints as modified. Where a page shows that it does not quite, the
// next bound lies lower by twice as much as the page was out of order; what earlier bounds may have left out for that is read
// again, see [indicatorWalk.skipsUnordered]. A modified that cannot be read moves nothing, and one that
// lies ahead of the clock moves the position only when there is nothing left to read before it: else a single one would
// hide all that comes later with a sane one.
type position struct {
	top time.Time // the newest modified seen, of those before the horizon
	// slack is twice as far as an indicator came behind a newer one of its page, maxSlack at most.
	slack time.Duration
	// horizon is where the future begins, and ahead the newest modified seen there.
	horizon, ahead time.Time
	asked          string    // the bound under way
	bound          time.Time // asked, as a time
	begun          time.Time // the first bound
	rung           int       // which step the bound under way is
	// fine is the unit of the bounds: as fine as the times that the API prints.
	fine   time.Duration
	coarse bool // the API refuses bounds finer than a millisecond
	length int  // how many indicators the page before held
	// seen are the indicators that a page can show again, with their times: the few of the last milliseconds, and those at or
	// behind kept, where the next slice begins.
	seen map[string]time.Time
	kept time.Time
	seed maphash.Seed
}

// newPosition begins at a window's start.
func newPosition(since time.Time) position {
	if since.Before(time.Unix(0, 0)) {
		since = time.Unix(0, 0)
	}
	p := position{fine: time.Millisecond, seen: map[string]time.Time{}, seed: maphash.MakeSeed(), rung: exactly, horizon: endOfTime, kept: endOfTime}
	p.set(since.UTC().Truncate(time.Millisecond))
	p.top, p.begun = p.bound, p.bound
	return p
}

// resume begins at the bound that a cursor holds, with the slack behind it. One that cannot be read is not used: reading again
// loses nothing.
func (p *position) resume(after string) {
	after, slack, _ := strings.Cut(after, slackMark)
	at, ok := readModified(after)
	if !ok {
		return
	}
	if by, err := time.ParseDuration(slack); err == nil {
		p.slack = max(0, min(by, maxSlack))
	}
	if at.After(p.bound) {
		p.fine = max(min(p.fine, unitOf(after)), time.Nanosecond)
		p.set(at)
		p.top, p.begun = p.bound, p.bound
	}
}

func (p *position) set(bound time.Time) {
	p.asked = p.format(bound)
	p.bound = bound
	if p.coarse {
		p.bound = bound.Truncate(time.Millisecond)
	}
}

func (p *position) format(t time.Time) string {
	layout := "2006-01-02T15:04:05.000Z"
	switch {
	case p.coarse:
	case p.fine < time.Microsecond:
		layout = "2006-01-02T15:04:05.000000000Z"
	case p.fine < time.Millisecond:
		layout = "2006-01-02T15:04:05.000000Z"
	}
	return t.UTC().Format(layout)
}

// follow takes up the bound that an answer was asked for with.
func (p *position) follow(a *answer) {
	p.asked, p.bound, p.coarse = a.asked, a.bound, p.coarse || a.coarse
}

// coarsen rounds the bound down to what every API takes, if that changes it.
func (p *position) coarsen() bool {
	if p.coarse || p.fine >= time.Millisecond {
		return false
	}
	p.coarse = true
	p.set(p.bound)
	return true
}

// The steps that the bound climbs while the newest modified stays the same.
const (
	behind     = iota // below by the slack, where the API does not quite keep the order; without slack the same as below
	below             // one unit below: both readings show all of the moment
	exactly           // the moment itself: > leaves it, >= begins with it
	above             // one unit above: >= leaves it too
	nextMilli         // for an API that rounds bounds down to milliseconds
	nextSecond        // or to seconds
	noStep
)

func (p *position) step(rung int) time.Time {
	switch rung {
	case behind:
		return p.top.Add(-p.slack - p.fine)
	case below:
		return p.top.Add(-p.fine)
	case exactly:
		return p.top
	case above:
		// Microseconds even where none were printed yet: a time may have left its zeros out.
		return p.top.Add(min(p.fine, time.Microsecond))
	case nextMilli:
		return p.top.Truncate(time.Millisecond).Add(time.Millisecond)
	default:
		return p.top.Truncate(time.Second).Add(time.Second)
	}
}

// advance chooses the next bound: the lowest step above the one under way. When the last was tried the future comes, if there
// is any, and then there is no more.
func (p *position) advance() bool {
	for rung := behind; rung < noStep; rung++ {

		bound := p.step(rung)
		if p.coarse {
			bound = bound.Truncate(time.Millisecond)
		}
		if bound.After(p.bound) {
			p.rung = rung
			if rung == above {
				p.fine = min(p.fine, time.Microsecond)
			}
			p.set(bound)
			p.forget()
			return true
		}
	}
	if p.ahead.After(p.top) {
		p.top, p.horizon = p.ahead, endOfTime
		return p.advance()
	}
	return false
}

// cutOff tells, when an answer to the bound under way leads beyond the newest modified, whether that bound has left
// behind what shares it: it was above it, or at it and the API reads > (the answer shows nothing at or below).
func (p *position) cutOff(atOrBelow bool) bool {
	return p.length > 0 && (p.rung > exactly || p.rung == exactly && !atOrBelow)
}

// slackMark stands in a cursor between the bound and the slack with which all before it was read.
const slackMark = "/"

// safe is the bound from which a later run reads on without missing anything, under every reading, and the slack. A climb is
// not a part of it: the answers that led to it may have been a fault of the moment.
func (p *position) safe() string {
	after := p.format(latest(p.begun, p.step(behind)))
	if p.slack > 0 {
		after += slackMark + p.slack.String()
	}
	return after
}

// restart goes back to a window's start with the slack that is known by now. What was seen counts as new again, for it has to lead
// on, and the future comes last again.
func (p *position) restart(since, horizon time.Time) {
	old := *p
	*p = newPosition(since)
	p.horizon, p.slack, p.fine, p.coarse = horizon, old.slack, old.fine, old.coarse
	p.set(p.bound)
}

// see notes an indicator and tells whether it is new. One whose modified cannot be read does not move the position.
func (p *position) see(object []byte, of identity, when time.Time, readable bool) bool {
	key := of.both
	if of.id == "" {
		key = "\x00" + strconv.FormatUint(maphash.Bytes(p.seed, object), 16)
	}
	if _, again := p.seen[key]; again {
		return false
	}
	if !readable {
		when = p.top
	}
	p.seen[key] = when
	if readable {
		p.note(of.modified, when)
	}
	return true
}

// note moves the position by a modified that an answer shows.
func (p *position) note(modified string, when time.Time) {
	p.fine = min(p.fine, unitOf(modified))
	switch {
	case !when.Before(p.horizon):
		p.ahead = latest(p.ahead, when)
	case when.After(p.top):
		p.top = when
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// maxSlack bounds the slack: a day lies between the same text read as the time of two places. What is further out of order
// than that is in no order, and pages that overlap by more would not help.
const maxSlack = 24 * time.Hour

// maxSeen bounds what is remembered for the sake of the slack: as much as several pages hold, some megabytes. What is shown
// again beyond that is delivered again.
const maxSeen = 20_000

// loosen takes note that an indicator came so far behind a newer one of its page. It tells whether that is more than the
// bounds up to now have allowed for.
func (p *position) loosen(by time.Duration) bool {
	if by <= p.slack {
		return false
	}
	p.slack = min(2*by, maxSlack) // others can come later still
	return true
}

// forget drops what no page will show again, even from an API that rounds the bound down.
func (p *position) forget() {
	floor := p.step(behind).Truncate(time.Millisecond)
	if len(p.seen) > maxSeen {
		floor = p.step(below).Truncate(time.Millisecond)
	}
	floor = earliest(floor, p.kept)
	for key, when := range p.seen {
		if when.Before(floor) {
			delete(p.seen, key)
		}
	}
}

// unitOf is the unit of a time's last digit, as milli-, micro- or nanoseconds: trailing zeros may have been left out.
func unitOf(text string) time.Duration {
	fraction := text[strings.IndexAny(text, ".,")+1:]
	if len(fraction) == len(text) {
		return time.Millisecond
	}
	digits := 0
	for digits < len(fraction) && fraction[digits] >= '0' && fraction[digits] <= '9' {
		digits++
	}
	switch {
	case digits <= 3:
		return time.Millisecond
	case digits <= 6:
		return time.Microsecond
	}
	return time.Nanosecond
}

// readModified reads a modified that the paging can go by: the bounds that climb above it still have a year of four digits.
func readModified(text string) (time.Time, bool) {
	at, ok := pipeline.ParseTime(text)
	return at, ok && at.Before(endOfTime)
}

// endOfTime is above every moment that the paging goes by.
var endOfTime = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
