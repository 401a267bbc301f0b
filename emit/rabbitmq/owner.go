package rabbitmq

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// failuresBeforeRefresh is how many attempts to connect may fail before the platform is asked whether the broker has
// moved: often enough to follow it, too seldom to trouble a platform during the broker's restart.
const failuresBeforeRefresh = 3

// owner has the connection: it opens one when there is something to deliver, and another when that one is lost.
type owner struct {
	box    *outbox
	hosts  hosts
	route  route
	outage outage
}

// run delivers until ctx ends or trying again cannot help.
func (o *owner) run(ctx context.Context) {
	defer o.outage.unwatch()
	for o.awaitDemand(ctx) {
		o.outage.watch()
		a := o.deliver(ctx)
		if ctx.Err() != nil {
			return
		}
		if learnt := (*learntError)(nil); errors.As(a.err, &learnt) {
			continue // each time with a lower limit
		}
		round := o.hosts.failed(a, o.box.cfg.Backoff.Max)
		o.outage.note(o.box, a, round)
		if round == nil {
			continue
		}
		err := round.cause()
		o.box.failed(err)
		if o.outage.refusedFor(o.box.cfg.RefusedFor, err) {
			err = &PermanentError{Problem: accessProblem, Err: err}
		} else if o.refreshDue(err) {
			err = o.refresh(ctx)
		}
		if permanent := (*PermanentError)(nil); errors.As(err, &permanent) {
			o.box.cfg.Log.Error("delivery has ended", zap.Error(permanent))
			o.box.fail(permanent)
			return
		}
		if remote.Wait(ctx, o.outage.pause(o.box.cfg)) != nil {
			return
		}
	}
}

// awaitDemand waits until there is a reason to have a connection; it says false when ctx has ended.
func (o *owner) awaitDemand(ctx context.Context) bool {
	for ctx.Err() == nil {
		if _, wanted := o.box.pending(); wanted {
			return true
		}
		o.outage.unwatch()
		o.hosts.rest()
		select {
		case <-o.box.demand:
		case <-ctx.Done():
		}
	}
	return false
}

// deliver opens a connection to the next node and delivers over it until it fails.
func (o *owner) deliver(ctx context.Context) attempt {
	o.box.mu.Lock()
	o.box.stats.Attempts++
	o.box.mu.Unlock()
	cfg := o.box.cfg
	a := attempt{}
	a.node, cfg.HandshakeTimeout = o.hosts.next(cfg.HandshakeTimeout)
	l, err := open(ctx, cfg, a.node)
	if err != nil {
		a.err = err
		return a
	}
	o.outage.unwatch()
	if o.box.contact() {
		o.outage.silence.Heard()
	}
	a.admitted = true
	a.progress, a.err = newSession(l, o.box, &o.outage, o.route).serve(ctx)
	return a
}

// refreshDue says whether the platform should be asked before the next attempt.
func (o *owner) refreshDue(err error) bool {
	if o.box.cfg.Refresh == nil {
		return false
	}
	return errors.Is(err, errReturned) || missing(err) || refusedAccess(err) ||
		(o.outage.failures > 0 && o.outage.failures%failuresBeforeRefresh == 0)
}

// refresh asks the platform, and takes what it says.
func (o *owner) refresh(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, o.box.cfg.RefreshTimeout)
	defer cancel()
	o.box.mu.Lock()
	o.box.stats.Refreshes++
	o.box.mu.Unlock()
	conn, exchange, key, err := o.box.cfg.Refresh(asking)
	if err != nil {
		if ctx.Err() == nil && !o.outage.alone {
			o.outage.alone = true
			o.box.cfg.Log.Warn("cannot register again to have the queue declared; trying on with what is known", zap.Error(err))
		}
		return err
	}
	o.hosts.take(conn)
	o.route = route{exchange: exchange, key: key}
	return nil
}
