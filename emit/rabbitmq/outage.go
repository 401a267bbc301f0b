package rabbitmq

import (
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

const (
	// silentAfter is how long failures last that may pass before they are told of, and muteAfter how long a broker may take for its
	// part of a login: with both an operator knows within fifteen seconds.
	silentAfter = 8 * time.Second
	muteAfter   = 12 * time.Second
)

// Settings say how the broker is reached.
var Settings = remote.Settings{
	Address:   "the host and port (mostly 5672, with TLS 5671) that OpenCTI tells connectors (rabbitmq:hostname), or MQ_HOST and MQ_PORT",
	Authority: "MQ_USE_SSL_CA or HTTPS_CA_CERTIFICATES",
	Plain:     "set MQ_USE_SSL=false, or MQ_PORT to the port that speaks TLS (mostly 5671)",
	Encrypted: "set MQ_USE_SSL=true, or MQ_PORT to the port without TLS (mostly 5672)",
	Proxy:     "MQ_PROXY (where that is environment: HTTPS_PROXY and NO_PROXY)",
	Client:    "MQ_USE_SSL_CERT and MQ_USE_SSL_KEY",
}

// outage is a time without progress, and what was logged of it.
type outage struct {
	silence  *remote.Silence
	watched  func()    // ends the watch for a connection; nil while there is none
	began    time.Time // zero while there is none
	failures int       // sessions and attempts in a row that confirmed nothing
	refused  time.Time // since when access is refused, round after round; zero while it is not
	alone    bool      // that the platform does not help was logged
}

func newOutage(cfg Config) outage {
	return outage{silence: &remote.Silence{
		Name: "RabbitMQ", Log: cfg.Alarms, After: silentAfter, Mute: muteAfter, Settings: Settings,
	}}
}

// watch begins when a connection is wanted.
func (o *outage) watch() {
	if o.watched == nil {
		o.watched = o.silence.Watch()
	}
}

// unwatch ends the watch when there is a connection, or none is wanted.
func (o *outage) unwatch() {
	if o.watched != nil {
		o.watched()
		o.watched = nil
	}
}

// note logs how an attempt has ended, and counts what ends a round.
func (o *outage) note(box *outbox, a attempt, round *round) {
	switch {
	case a.progress:
		o.failures = 0
	case round != nil:
		o.failures++
	}
	refused := round != nil && refusedAccess(round.cause())
	switch {
	case refused && o.refused.IsZero():
		o.refused = time.Now()
	case round != nil && !refused:
		o.refused = time.Time{} // a broker that starts refuses and cannot be reached by turns
	}
	unconfirmed, wanted := box.pending()
	fields := []zap.Field{
		zap.Error(a.err), zap.Stringer("broker", a.node), zap.Int("unconfirmed", unconfirmed),
		zap.Int("failures", o.failures),
	}
	if round != nil && (wanted || refused) {
		o.silence.Failed(fmt.Errorf("%s, %d messages wait", round, unconfirmed), round.diagnose())
	}
	switch {
	case !wanted:
		box.cfg.Log.Info("broker connection lost while idle; it is opened again when it is needed", fields...)
		return
	case o.began.IsZero() && errors.Is(a.err, errReturned):
		box.cfg.Log.Warn("the queue is missing: the connector registers again, so that the platform declares it", fields...)
	case o.began.IsZero():
		box.cfg.Log.Warn("cannot deliver to the broker; messages wait and are published again", fields...)
	default:
		box.cfg.Log.Debug("broker still not available", fields...)
	}
	if o.began.IsZero() {
		o.began = time.Now()
	}
}

// Diagnose finds out why a broker cannot be used.
func Diagnose(err error, broker Connection) remote.Diagnosis {
	switch {
	case refusedAccess(err):
		return remote.Diagnosis{Kind: "access", Lasting: true, Problem: "it refuses access", Remedy: accessRemedy}
	case errors.Is(err, errReturned), missing(err):
		return remote.Diagnosis{Kind: "queue", Problem: "it lacks the connector's queue, which the connector asks OpenCTI to declare again"}
	case !broker.UseSSL && errors.Is(err, amqp.ErrFrame):
		return remote.Diagnosis{Kind: "encrypted", Lasting: true, Problem: "that port speaks TLS, or another protocol", Remedy: Settings.Encrypted + ", or check the port"}
	}
	return remote.Diagnose(err, Settings)
}

// accessRemedy says what an operator can do where the broker says no, and accessProblem what is wrong.
const (
	accessRemedy  = "check its user, password and virtual host (those that OpenCTI tells connectors, or MQ_USER, MQ_PASS and MQ_VHOST)"
	accessProblem = "the broker refuses access: " + accessRemedy
)

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
	o.silence.Heard() // also of a login that took long, which is no failure
	if !o.began.IsZero() {
		log.Info("delivery goes on", zap.Stringer("broker", broker), zap.Duration("after", time.Since(o.began)))
	}
	*o = outage{silence: o.silence, watched: o.watched}
}
