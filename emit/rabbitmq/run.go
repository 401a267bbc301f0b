package rabbitmq

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// failuresBeforeRefresh is how many attempts to connect may fail before the platform is asked whether the broker has
// moved: often enough to follow it, too seldom to trouble a platform during the broker's restart.
const failuresBeforeRefresh = 3

// refusalsBeforeGivingUp is how often the broker may close the channel over one and the same message.
const refusalsBeforeGivingUp = 3

// route is where messages go.
type route struct {
	conn          Connection
	exchange, key string
}

// alarming is how long an outage lasts before it is news also to those who log errors only.
const alarming = 2 * time.Minute

// outage is a time without progress.
type outage struct {
	began    time.Time // zero while there is none
	failures int       // sessions and attempts in a row that confirmed nothing
	refused  bool      // the refusal of access was logged
	alone    bool      // that the platform does not help was logged
	alarmed  bool      // that it lasts was logged as an error
}

// run owns the connection from New to Close.
func (p *Publisher) run(ctx context.Context) {
	defer close(p.done)
	for p.awaitDemand(ctx) {
		progress, err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		p.note(progress, err)
		if p.refreshDue(err) {
			err = p.refresh(ctx)
		}
		if permanent := (*PermanentError)(nil); errors.As(err, &permanent) {
			p.cfg.Log.Error("delivery has ended", zap.Error(permanent))
			p.fail(permanent)
			return
		}
		if remote.Wait(ctx, p.cfg.Backoff.Delay(p.outage.failures)) != nil {
			return
		}
	}
}

// awaitDemand waits until there is a reason to have a connection; it says false when ctx has ended.
func (p *Publisher) awaitDemand(ctx context.Context) bool {
	for ctx.Err() == nil {
		p.mu.Lock()
		wanted := p.window.count > 0 || p.queued > 0
		p.mu.Unlock()
		if wanted {
			return true
		}
		select {
		case <-p.demand:
		case <-ctx.Done():
		}
	}
	return false
}

// session opens a connection and delivers over it until it fails.
func (p *Publisher) session(ctx context.Context) (progress bool, err error) {
	p.mu.Lock()
	p.stats.Attempts++
	p.mu.Unlock()
	s, err := open(ctx, p)
	if err != nil {
		return false, err
	}
	return s.serve(ctx)
}

// note counts and logs the end of a session or of an attempt to have one.
func (p *Publisher) note(progress bool, err error) {
	if progress {
		p.outage.failures = 0
	} else {
		p.outage.failures++
	}
	p.mu.Lock()
	unconfirmed, wanted := p.window.count, p.window.count > 0 || p.queued > 0
	p.mu.Unlock()
	fields := []zap.Field{
		zap.Error(err), zap.Stringer("broker", p.route.conn), zap.Int("unconfirmed", unconfirmed),
		zap.Int("failures", p.outage.failures),
	}
	switch {
	case refusedAccess(err) && !p.outage.refused:
		p.outage.refused = true
		p.cfg.Log.Error("the broker refuses access: check its user, password and vhost (MQ_USER, MQ_PASS, MQ_VHOST where set)",
			fields...)
	case !wanted:
		p.cfg.Log.Info("broker connection lost while idle; it is opened again when it is needed", fields...)
		return
	case p.outage.began.IsZero() && errors.Is(err, errReturned):
		p.cfg.Log.Warn("the queue is missing: the connector registers again, so that the platform declares it", fields...)
	case p.outage.began.IsZero():
		p.cfg.Log.Warn("cannot deliver to the broker; messages wait and are published again", fields...)
	case !p.outage.alarmed && time.Since(p.outage.began) > alarming:
		p.outage.alarmed = true
		p.cfg.Log.Error("nothing could be delivered to the broker for minutes; check that RabbitMQ runs and can be reached from here (MQ_HOST, MQ_PORT)",
			fields...)
	default:
		p.cfg.Log.Debug("broker still not available", fields...)
	}
	if p.outage.began.IsZero() {
		p.outage.began = time.Now()
	}
}

// recovered logs the end of an outage: a message was confirmed.
func (p *Publisher) recovered() {
	if !p.outage.began.IsZero() {
		p.cfg.Log.Info("delivery goes on", zap.Stringer("broker", p.route.conn),
			zap.Duration("after", time.Since(p.outage.began)))
	}
	p.outage = outage{}
}

// refreshDue says whether the platform should be asked before the next attempt.
func (p *Publisher) refreshDue(err error) bool {
	if p.cfg.Refresh == nil {
		return false
	}
	return errors.Is(err, errReturned) || missing(err) || refusedAccess(err) ||
		(p.outage.failures > 0 && p.outage.failures%failuresBeforeRefresh == 0)
}

// refresh asks the platform, and takes what it says.
func (p *Publisher) refresh(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, p.cfg.RefreshTimeout)
	defer cancel()
	p.mu.Lock()
	p.stats.Refreshes++
	p.mu.Unlock()
	conn, exchange, key, err := p.cfg.Refresh(asking)
	if err != nil {
		if ctx.Err() == nil && !p.outage.alone {
			p.outage.alone = true
			p.cfg.Log.Warn("cannot register again to have the queue declared; trying on with what is known", zap.Error(err))
		}
		return err
	}
	p.route = route{conn: conn, exchange: exchange, key: key}
	return nil
}
