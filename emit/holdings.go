package emit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state/index"
)

const (
	// askAtOnce is the number of ids in a question: OpenCTI finds 500 in 0.15 to 0.7 s, and some such requests go side by side.
	askAtOnce = 2000
	// askSoon is how long ids are collected for a question that is smaller.
	askSoon = 200 * time.Millisecond
	// askPatience is how long a run waits for an answer before it fails: a search engine that restarts is back by then.
	askPatience = 10 * time.Minute
	// askedMost bounds what is remembered of the questions of a run, some 10 MB; what is forgotten may be asked twice.
	askedMost = 200_000
)

// Platform tells which objects OpenCTI holds already: those of the ids that it knows, each with its type in GraphQL. Its
// errors are those of [opencti.Client].
type Platform interface {
	Holds(ctx context.Context, ids []string) (map[string]string, error)
}

// holdings asks OpenCTI which objects it holds: those that another connector brought, its own markings, and those of which
// the index is not sure. One question is under way at a time, on a goroutine of its own. What is not answered yet is
// unknown, which is never taken for absent.
type holdings struct {
	platform Platform // nil is never asked
	refusal  *Refusal
	log      *zap.Logger

	open     []string           // to be asked
	since    time.Time          // when the first of them came
	noted    map[index.Key]bool // true while open or under way, false once answered in this run
	question *question          // under way

	refused  bool // OpenCTI does not answer this user
	failures int  // since it last answered
	next     time.Time
}

// question is under way until done is closed; only then may the rest be read.
type question struct {
	ids    []string
	cancel context.CancelFunc
	done   chan struct{}
	held   map[string]string
	err    error
}

// reply is what OpenCTI says of some ids: of those it holds their types, by id. blind says that it says nothing, and
// never will.
type reply struct {
	ids   []string
	held  map[string]string
	blind bool
}

// errUnknown fails a run that could not find out what OpenCTI holds.
var errUnknown = errors.New("OpenCTI does not say which objects it holds, and nothing is cut for that: what waits for them stays on disk for the next run, or is fetched again")

// Refusal remembers that OpenCTI refuses to answer, and that this was said.
type Refusal struct{ told bool }

// say complains of a refusal, unless that was done since OpenCTI last answered.
func (r *Refusal) say(log *zap.Logger, err error) {
	cause := "this release of OpenCTI does not know the question"
	if opencti.IsForbidden(err) {
		cause = "give the connector's user the right to read knowledge (Access knowledge)"
	}
	level := zap.ErrorLevel
	if r.told {
		level = zap.InfoLevel
	}
	r.told = true
	log.Log(level, "OpenCTI refuses to say which objects it holds, so references to what this connector has not sent are left out until it does; "+cause, zap.Error(err))
}

// want adds ids to what is to be asked, each once in a run.
func (h *holdings) want(ids []string, now time.Time) {
	h.add(ids, now, func(key index.Key) bool { _, known := h.noted[key]; return !known })
}

// wantAgain adds ids whatever was answered before: there is a new doubt.
func (h *holdings) wantAgain(ids []string, now time.Time) {
	h.add(ids, now, func(key index.Key) bool { return !h.noted[key] })
}

// answers says that there is somebody to ask.
func (h *holdings) answers() bool { return h.platform != nil && !h.refused }

func (h *holdings) add(ids []string, now time.Time, wanted func(index.Key) bool) {
	if !h.answers() {
		return
	}
	for _, id := range ids {
		key := index.KeyOf(id)
		if !wanted(key) {
			continue
		}
		if len(h.noted) >= askedMost && h.question == nil && len(h.open) == 0 {
			clear(h.noted)
		}
		h.noted[key] = true
		if len(h.open) == 0 {
			h.since = now
		}
		h.open = append(h.open, id)
	}
}

// idle says that every question is answered.
func (h *holdings) idle() bool { return h.question == nil && len(h.open) == 0 }

// ask begins a question where none is under way, and it is time for one or it must be at once.
func (h *holdings) ask(ctx context.Context, now time.Time, atOnce bool) {
	worth := atOnce || len(h.open) >= askAtOnce || now.Sub(h.since) >= askSoon
	if h.question != nil || len(h.open) == 0 || !worth || now.Before(h.next) {
		return
	}
	ids := h.open[:min(askAtOnce, len(h.open))]
	h.open = h.open[len(ids):]
	// It outlives the call that began it, and ends with close.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	q := &question{ids: ids, cancel: cancel, done: make(chan struct{})}
	h.question = q
	go func() {
		defer close(q.done)
		q.held, q.err = h.platform.Holds(ctx, q.ids)
	}()
}

// heard returns the answer to the question under way, nil when there is none yet, or none that is good for something:
// then the ids are asked for again.
func (h *holdings) heard(now time.Time) *reply {
	q := h.question
	if q == nil {
		return nil
	}
	select {
	case <-q.done:
	default:
		return nil
	}
	h.question = nil
	q.cancel()
	switch {
	case q.err == nil:
		if h.failures > 0 {
			h.log.Info("OpenCTI says again which objects it holds")
		}
		h.failures, h.next, h.refusal.told = 0, time.Time{}, false
		for _, id := range q.ids {
			h.noted[index.KeyOf(id)] = false
		}
		return &reply{ids: q.ids, held: q.held}
	case opencti.IsRefused(q.err):
		h.refused, h.open = true, nil
		h.refusal.say(h.log, q.err)
		return &reply{blind: true}
	}
	if h.failures == 0 {
		h.log.Warn("OpenCTI does not say which objects it holds; asking again", zap.Error(q.err))
	}
	backoff := remote.Backoff{Min: 250 * time.Millisecond, Max: 15 * time.Second}
	h.next = now.Add(backoff.Delay(h.failures))
	h.failures++
	h.open, h.since = append(q.ids, h.open...), now
	return nil
}

// await returns the next answer, nil when nothing is left to be asked. It repeats what fails until ctx ends, or
// [askPatience] does: the error then wraps errUnknown.
func (h *holdings) await(ctx context.Context) (*reply, error) {
	began := time.Now()
	for {
		now := time.Now()
		if a := h.heard(now); a != nil {
			return a, nil
		}
		if h.idle() {
			return nil, nil
		}
		h.ask(ctx, now, true)
		if h.question == nil {
			if now.Sub(began) >= askPatience {
				return nil, fmt.Errorf("ask OpenCTI for objects: %w", errUnknown)
			}
			if err := remote.Wait(ctx, h.next.Sub(now)); err != nil {
				return nil, fmt.Errorf("ask OpenCTI for objects: %w", err)
			}
			continue
		}
		select {
		case <-h.question.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("ask OpenCTI for objects: %w", context.Cause(ctx))
		}
	}
}

// close ends the question under way.
func (h *holdings) close() {
	if h.question != nil {
		h.question.cancel()
		<-h.question.done
		h.question = nil
	}
}

// isCommon says that many objects refer to what has this id, so that it is worth asking for it early.
func isCommon(id string) bool {
	return strings.HasPrefix(id, "marking-definition--") || strings.HasPrefix(id, "identity--")
}
