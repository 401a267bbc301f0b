package emit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Queue tells how much lies in the connector's queue.
type Queue interface {
	// QueueSize fails with an error that wraps [pipeline.ErrAbandon] when what is published does not count any more, and with
	// [ErrUntold] where the size will never be known; after any other it is unknown for now.
	QueueSize(ctx context.Context) (messages, bytes int64, err error)
}

// Gauge looks at the run's work and queue while messages flow, and holds delivery back while the queue is full. The
// platform's figure lags some seconds behind the broker, so what was published within that time is added to it.
type Gauge struct {
	queue     Queue
	threshold int64 // bytes; 0 lets everything pass
	report    func(buffering bool, queueBytes int64)
	log       *zap.Logger
	now       func() time.Time

	size      int64     // what the platform said last
	asked     time.Time // when
	since     []published
	failing   time.Time // since when the platform has not told; zero while it does
	buffering bool
	told      time.Time // when it was last said that the queue is full
	loud      bool      // it was said of this time
}

type published struct {
	at    time.Time
	bytes int64
}

const (
	// figureLag is how old the platform's figure can be: RabbitMQ's management collects every five seconds.
	figureLag = 5 * time.Second
	// askAgain is how often the platform is asked while delivery waits.
	askAgain = time.Second
	// lookAgain is how often the platform is asked while messages flow: so long a run goes on at most after an operator has
	// deleted its work, and one question in that time costs the platform little.
	lookAgain = 2 * time.Second
	// blindAfter is how long delivery goes by the last figure when the platform tells no other: a restart is over by then.
	blindAfter = time.Minute
	// saidAgain bounds how often it is said that the queue is full: it is filled again as soon as there is room, every few seconds for
	// as long as a backfill takes.
	saidAgain = 10 * time.Minute
)

// NewGauge returns a gauge; report is told the queue's size whenever it was asked for, and whether delivery waits. A nil
// queue is never asked, and lets everything pass.
func NewGauge(queue Queue, threshold int64, report func(buffering bool, queueBytes int64), log *zap.Logger) *Gauge {
	return &Gauge{queue: queue, threshold: threshold, report: report, log: log, now: time.Now}
}

// Wait returns when the queue has room for so many more bytes, and counts them as published. While it waits it calls
// meanwhile about once a second. Without a threshold it only asks from time to time. The error is that ctx ended, or the
// queue's that makes the run void.
func (g *Gauge) Wait(ctx context.Context, bytes int64, meanwhile func()) error {
	if g.queue == nil {
		return nil
	}
	for {
		if g.doubtful() {
			if err := g.ask(ctx); err != nil {
				return err
			}
		}
		if !g.full() {
			break
		}
		g.hold(true)
		meanwhile()
		if err := remote.Wait(ctx, askAgain); err != nil {
			return fmt.Errorf("wait for the queue to drain: %w", err)
		}
	}
	g.hold(false)
	if g.threshold <= 0 {
		return nil
	}
	g.since = append(g.since, published{g.now(), bytes})
	return nil
}

// doubtful says that the last figure is too old, or too much was published since, to go on without asking.
func (g *Gauge) doubtful() bool {
	age := g.now().Sub(g.asked)
	return g.asked.IsZero() || age >= lookAgain || (g.full() && age >= askAgain)
}

func (g *Gauge) ask(ctx context.Context) error {
	_, size, err := g.queue.QueueSize(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the queue to drain: %w", context.Cause(ctx))
		}
		if errors.Is(err, pipeline.ErrAbandon) {
			return err
		}
		g.asked = g.now()
		if errors.Is(err, ErrUntold) { // of which the operator knows
			g.size, g.since = 0, nil
			return nil
		}
		if g.failing.IsZero() {
			g.failing = g.asked
			g.log.Warn("the size of the queue is unknown, and whether the work is still there", zap.Error(err))
		}
		if g.asked.Sub(g.failing) >= blindAfter {
			// Without a figure the broker's own limits and confirms still push back; asking for expectations will wait
			// for a platform that is away.
			g.size, g.since = 0, nil
		}
		return nil
	}
	g.size, g.asked, g.failing = size, g.now(), time.Time{}
	kept := g.since[:0]
	for _, p := range g.since {
		if g.asked.Sub(p.at) < figureLag {
			kept = append(kept, p)
		}
	}
	g.since = kept
	g.report(g.buffering, size)
	return nil
}

func (g *Gauge) full() bool { return g.threshold > 0 && g.estimate() >= g.threshold }

func (g *Gauge) estimate() int64 {
	sum := g.size
	for _, p := range g.since {
		sum += p.bytes
	}
	return sum
}

func (g *Gauge) hold(wait bool) {
	if g.buffering == wait {
		return
	}
	g.buffering = wait
	g.report(wait, g.size)
	if wait {
		if g.loud = g.told.IsZero() || g.now().Sub(g.told) >= saidAgain; g.loud {
			g.told = g.now()
		}
	}
	level := zap.DebugLevel
	if g.loud {
		level = zap.InfoLevel
	}
	if wait {
		g.log.Log(level, "the queue is full; waiting for OpenCTI's workers", zap.Int64("queue_bytes", g.size), zap.Int64("with_what_was_just_sent", g.estimate()), zap.Int64("threshold_bytes", g.threshold))
	} else {
		g.log.Log(level, "the queue has drained; going on", zap.Int64("queue_bytes", g.size), zap.Int64("with_what_was_just_sent", g.estimate()))
	}
}
