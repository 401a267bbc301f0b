package rabbitmq

import (
	"errors"
	"time"

	"go.uber.org/zap"
)

// alarming is how long an outage lasts before it is news also to those who log errors only.
const alarming = 2 * time.Minute

// outage is a time without progress, and what was logged of it.
type outage struct {
	began    time.Time // zero while there is none
	failures int       // sessions and attempts in a row that confirmed nothing
	refused  time.Time // since when access is refused, and nothing else goes wrong; zero while it is not
	denied   bool      // that access is refused was logged
	alone    bool      // that the platform does not help was logged
	alarmed  bool      // that it lasts was logged as an error
}

// note counts and logs the end of a session or of an attempt to have one.
func (o *outage) note(box *outbox, broker Connection, progress bool, err error) {
	if progress {
		o.failures = 0
	} else {
		o.failures++
	}
	switch {
	case !refusedAccess(err):
		o.refused = time.Time{} // a broker that starts refuses and cannot be reached by turns
	case o.refused.IsZero():
		o.refused = time.Now()
	}
	unconfirmed, wanted := box.pending()
	fields := []zap.Field{
		zap.Error(err), zap.Stringer("broker", broker), zap.Int("unconfirmed", unconfirmed),
		zap.Int("failures", o.failures),
	}
	switch {
	case refusedAccess(err) && !o.denied:
		o.denied = true
		box.cfg.Log.Error(accessProblem, fields...)
	case !wanted:
		box.cfg.Log.Info("broker connection lost while idle; it is opened again when it is needed", fields...)
		return
	case o.began.IsZero() && errors.Is(err, errReturned):
		box.cfg.Log.Warn("the queue is missing: the connector registers again, so that the platform declares it", fields...)
	case o.began.IsZero():
		box.cfg.Log.Warn("cannot deliver to the broker; messages wait and are published again", fields...)
	case !o.alarmed && time.Since(o.began) > alarming:
		o.alarmed = true
		box.cfg.Log.Error("nothing could be delivered to the broker for minutes; check that RabbitMQ runs and can be reached from here (MQ_HOST, MQ_PORT)",
			fields...)
	default:
		box.cfg.Log.Debug("broker still not available", fields...)
	}
	if o.began.IsZero() {
		o.began = time.Now()
	}
}

// accessProblem says what an operator can do where the broker says no.
const accessProblem = "the broker refuses access: check its user, password and vhost (MQ_USER, MQ_PASS, MQ_VHOST where set)"

// refusedFor reports that a refusal is the last one to put up with.
func (o *outage) refusedFor(limit time.Duration, err error) bool {
	return limit > 0 && refusedAccess(err) && time.Since(o.refused) >= limit
}

// pause is how long to wait before the next attempt: no longer than until a refusal would be one too many.
func (o *outage) pause(cfg Config) time.Duration {
	delay := cfg.Backoff.Delay(o.failures)
	if cfg.RefusedFor > 0 && !o.refused.IsZero() {
		if left := cfg.RefusedFor - time.Since(o.refused); left > 0 {
			delay = min(delay, left)
		}
	}
	return delay
}

// end logs the end of an outage: a message was confirmed.
func (o *outage) end(log *zap.Logger, broker Connection) {
	if !o.began.IsZero() {
		log.Info("delivery goes on", zap.Stringer("broker", broker), zap.Duration("after", time.Since(o.began)))
	}
	*o = outage{}
}
