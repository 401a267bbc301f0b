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

// holdings is what OpenCTI is known to hold that this connector has not sent: what another connector brought, or the
// platform's own markings.
type holdings struct {
	platform Platform // nil is never asked
	index    Index
	log      *zap.Logger

	asked map[string]bool
	last  time.Time // when it was last due
	mute  bool      // the platform is not asked any more in this run
}

// due reports, at most once in askEvery, that it is time to ask for what has waited for a while.
func (h *holdings) due(now time.Time) bool {
	if h.platform == nil || now.Sub(h.last) < askEvery {
		return false
	}
	h.last = now
	return true
}

// ask asks OpenCTI which of the ids it holds, each once in a run, and returns those that it does; the index has them from
// then on. A platform that does not answer is not asked again: what it holds is then unknown, as without asking. The
// error is that ctx ended.
func (h *holdings) ask(ctx context.Context, ids []string) (held []string, err error) {
	var open []string
	for _, id := range ids {
		if !h.asked[id] {
			open = append(open, id)
		}
	}
	for len(open) > 0 && h.platform != nil && !h.mute {
		chunk := open[:min(askAtOnce, len(open))]
		open = open[len(chunk):]
		if len(h.asked)+len(chunk) > askMost {
			h.mute = true
			h.log.Warn("too many references are unknown to ask OpenCTI for each; the rest is treated as missing", zap.Int("limit", askMost))
			return held, nil
		}
		answers, err := h.platform.Holds(ctx, chunk)
		if ctx.Err() != nil {
			return held, fmt.Errorf("ask OpenCTI for objects: %w", context.Cause(ctx))
		}
		if err != nil {
			h.mute = true
			h.log.Warn("OpenCTI does not say which objects it holds; references to what this connector has not sent are left out", zap.Error(err))
			return held, nil
		}
		held = h.learn(held, chunk, answers)
	}
	return held, nil
}

// learn appends to held the ids that the answers name.
func (h *holdings) learn(held, ids []string, answers map[string]string) []string {
	for _, id := range ids {
		h.asked[id] = true
		if _, found := answers[id]; !found {
			continue
		}
		if key := index.KeyOf(id); !h.known(key) {
			h.index.Put(key, index.Record{Seq: 1}) // no digest: the object itself is sent when it comes
		}
		held = append(held, id)
	}
	return held
}

func (h *holdings) known(key index.Key) bool {
	_, found := h.index.Lookup(key)
	return found
}
