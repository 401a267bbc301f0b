package emit

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/state/index"
)

const (
	// askAfter is how long an object waits before the platform is asked for what it waits for: mostly the rest of its
	// own item brings that.
	askAfter = time.Second
	askEvery = time.Second
	// askAtOnce is the number of ids in a query.
	askAtOnce = 200
	// askMost bounds the questions of a run, and with them their time and the memory of the answers.
	askMost = 20_000
)

// askForAbsent asks OpenCTI for what objects have been waiting for and nothing has brought yet, so that years of data
// that another connector brought, or the platform's own markings, do not have to wait for the end of the run.
func (e *Emitter) askForAbsent(ctx context.Context, now time.Time) error {
	if e.cfg.Platform == nil || now.Sub(e.lastAsked) < askEvery {
		return nil
	}
	e.lastAsked = now
	e.mu.Lock()
	absent := e.order.absent(now.Add(-askAfter))
	e.mu.Unlock()
	return e.ask(ctx, absent)
}

// ask asks OpenCTI which of the ids it holds, each once in a run; what it holds goes into the index and frees what waits
// for it. A platform that does not answer is not asked again: what it holds is then unknown, as without asking.
func (e *Emitter) ask(ctx context.Context, ids []string) error {
	var open []string
	for _, id := range ids {
		if !e.asked[id] {
			open = append(open, id)
		}
	}
	for len(open) > 0 && e.cfg.Platform != nil && !e.mute {
		chunk := open[:min(askAtOnce, len(open))]
		open = open[len(chunk):]
		if len(e.asked)+len(chunk) > askMost {
			e.mute = true
			e.cfg.Log.Warn("too many references are unknown to ask OpenCTI for each; the rest is treated as missing", zap.Int("limit", askMost))
			return nil
		}
		answers, err := e.cfg.Platform.Holds(ctx, chunk)
		if ctx.Err() != nil {
			return fmt.Errorf("ask OpenCTI for objects: %w", context.Cause(ctx))
		}
		if err != nil {
			e.mute = true
			e.cfg.Log.Warn("OpenCTI does not say which objects it holds; references to what this connector has not sent are left out", zap.Error(err))
			return nil
		}
		e.learn(chunk, answers)
	}
	return nil
}

func (e *Emitter) learn(ids []string, answers map[string]bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ids {
		e.asked[id] = true
		if !answers[id] {
			continue
		}
		key := index.KeyOf(id)
		if _, found := e.cfg.Index.Lookup(key); !found {
			e.cfg.Index.Put(key, index.Record{Seq: 1}) // no digest: the object itself is sent when it comes
		}
		e.order.arrive(key)
	}
	e.noteAge(time.Now())
}
