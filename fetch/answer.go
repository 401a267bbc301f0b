package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
)

// answer is a page of indicators as the API shows it.
type answer struct {
	claim
	asked  string    // the bound that it is the answer to
	bound  time.Time // asked, as a time
	coarse bool      // the API has refused a finer bound
	shown  []sighting
	strict bool // as the objects of a [threatmatch.IndicatorPage] are
	more   bool
	// early says that it was asked for before all that precedes it was shown, or that more was shown already: what it says of the end
	// is not believed.
	early bool
	// begins says that it is the first of its slice.
	begins bool
}

// sighting is an indicator of an answer, and what tells it from others.
type sighting struct {
	identity
	object   json.RawMessage
	when     time.Time // modified, where that can be read
	readable bool
}

// pager asks for pages of one group, within a room.
type pager struct {
	client  indicatorsAPI
	group   string
	room    *Room
	typical atomic.Int64 // size of an answer: of the largest of late
}

// claim returns one on the room that holds nothing yet.
func (p *pager) claim(ahead context.Context) claim { return claim{room: p.room, ahead: ahead} }

// ask gets the page at a position, as soon as the claim has room for it or it is its turn. An API that takes milliseconds only
// gets them: a bound rounded down misses nothing.
func (p *pager) ask(ctx context.Context, c claim, at *position) (*answer, error) {
	a := &answer{claim: c}
	page, err := fetchWithin(&a.claim, p.typical.Load(), func(grow func(int64) error) (threatmatch.IndicatorPage, error) {
		page, err := p.client.IndicatorsWithin(ctx, p.group, at.asked, grow)
		var refused *threatmatch.Error
		if errors.As(err, &refused) && refused.Status == http.StatusBadRequest && at.coarsen() {
			page, err = p.client.IndicatorsWithin(ctx, p.group, at.asked, grow)
		}
		return page, err
	})
	if err != nil {
		a.giveBack()
		return nil, err
	}
	a.asked, a.bound, a.coarse, a.more, a.strict = at.asked, at.bound, at.coarse, page.More, page.Strict
	a.take(page.Objects)
	size := a.size()
	a.settle(size)
	p.typical.Store(max(size, p.typical.Load()/8*7))
	return a, nil
}

func (a *answer) take(objects []json.RawMessage) {
	a.shown = make([]sighting, len(objects))
	of := newIdentifier()
	for i, object := range objects {
		s := sighting{object: object, identity: of.identify(object)}
		s.when, s.readable = readModified(s.modified)
		a.shown[i] = s
	}
}

func (a *answer) size() (bytes int64) {
	for _, s := range a.shown {
		bytes += int64(len(s.object))
	}
	return bytes
}

// last tells whether nothing comes after the answer.
func (a *answer) last() bool { return !a.early && a.saysLast() }

func (a *answer) saysLast() bool { return !a.more || len(a.shown) == 0 }

// newest is the newest moment of the answer's indicators of before a horizon, zero without any.
func (a *answer) newest(horizon time.Time) (newest time.Time) {
	for _, s := range a.shown {
		if s.readable && s.when.Before(horizon) {
			newest = latest(newest, s.when)
		}
	}
	return newest
}

// order is what an answer tells of the order of its indicators.
type order struct {
	kept bool // none came behind a newer one, and none lies before the bound, rounded to a second
	// oldest and newest are moments of indicators; newest is zero where none can be read.
	oldest, newest time.Time
}

func (a *answer) order() order {
	o := order{kept: true, oldest: endOfTime}
	floor := a.bound.Truncate(time.Second) // as low as an API may round it
	for _, s := range a.shown {
		if !s.readable {
			continue
		}
		if s.when.Before(o.newest) || s.when.Before(floor) {
			o.kept = false
		}
		o.newest = latest(o.newest, s.when)
		if s.when.Before(o.oldest) {
			o.oldest = s.when
		}
	}
	return o
}
