package emit

import (
	"context"
	"slices"
	"time"
)

const (
	// askAfter is how long an object waits for a marking or an author before OpenCTI is asked for it: mostly the rest of its
	// own item brings that.
	askAfter = time.Second
	// quietAfter is how long no item has come when OpenCTI is asked for all that is waited for: before, the run may be about
	// to bring it.
	quietAfter = 5 * time.Second
	// askEvery is how often what is waited for is looked through, once for each lookedThrough of it: looking takes the same small
	// share of the time however much that is.
	askEvery      = time.Second
	lookedThrough = 50_000
	// mostAsked bounds the objects of which the index is not sure, and whose texts wait in memory for the answer.
	mostAsked = 4 * askAtOnce
)

// inquiry is what the run wants to know of OpenCTI, and what it makes of the answers.
type inquiry struct {
	order    *order
	shelf    *shelf
	holdings *holdings
	kindOf   func(typename string) uint8
	account  *counters
	memory   int // bytes of the texts of objects that were asked for

	looked  time.Time // when what is waited for was last looked through
	lastPut time.Time
}

// goOn takes note of what was answered, and asks for what has come up. It waits only where too much is unanswered.
func (q *inquiry) goOn(ctx context.Context, now time.Time) error {
	if a := q.holdings.heard(now); a != nil {
		q.hear(a, now)
	}
	q.holdings.wantAgain(q.order.takeDoubts(), now)
	q.holdings.ask(ctx, now, false)
	if q.order.asked > mostAsked || q.order.askedBytes > q.memory {
		return q.settle(ctx, nil)
	}
	return nil
}

// lookAround asks for what objects have been waiting for and nothing has brought yet, so that they need not wait for the end
// of the run.
func (q *inquiry) lookAround(now time.Time) {
	if now.Sub(q.looked) < askEvery*time.Duration(1+len(q.order.waiting)/lookedThrough) {
		return
	}
	q.looked = now
	absent := q.order.absent(now.Add(-askAfter))
	if now.Sub(q.lastPut) < quietAfter {
		absent = slices.DeleteFunc(absent, func(id string) bool { return !isCommon(id) })
	}
	q.holdings.want(absent, now)
}

// settle asks for the ids, and returns when everything that was asked for is answered. The error is that OpenCTI did not
// answer for long, or that ctx ended.
func (q *inquiry) settle(ctx context.Context, ids []string) error {
	q.holdings.want(ids, time.Now())
	for {
		q.holdings.wantAgain(q.order.takeDoubts(), time.Now())
		a, err := q.holdings.await(ctx)
		if err != nil || a == nil {
			return err
		}
		q.hear(a, time.Now())
	}
}

// askForTheShelf asks for everything that objects on the shelf lack: another connector may have brought it since, or an
// operator has given the right to ask.
func (q *inquiry) askForTheShelf(ctx context.Context) error {
	if !q.holdings.answers() {
		return q.settle(ctx, nil) // and all of the shelf need not be read
	}
	var ids []string
	for id, err := range q.shelf.missing(ctx) {
		if err != nil {
			return err
		}
		if ids = append(ids, id); len(ids) == askAtOnce {
			if err := q.settle(ctx, ids); err != nil {
				return err
			}
			ids = ids[:0]
		}
	}
	return q.settle(ctx, ids)
}

// hear draws the conclusions from an answer.
func (q *inquiry) hear(a *reply, now time.Time) {
	if a.blind {
		for _, n := range q.order.goOnBlind(now) {
			q.shelf.delivered(n)
		}
		return
	}
	for _, id := range a.ids {
		typename, held := a.held[id]
		switch {
		case held:
			if n := q.order.learnHeld(id, q.kindOf(typename)); n != nil {
				q.account.known.Add(1)
				q.shelf.delivered(n)
			}
		case q.order.learnAbsent(id, now):
			q.account.lost.Add(1)
		}
	}
}
