package emit

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// askedPlatform is a platform that holds some objects and notes the questions.
type askedPlatform struct {
	holds map[string]bool
	asked []string
	most  int
	err   error
	// answer is called before each answer; nil for nothing.
	answer func()
}

func (p *askedPlatform) Holds(_ context.Context, ids []string) (map[string]string, error) {
	p.asked = append(p.asked, ids...)
	p.most = max(p.most, len(ids))
	if p.answer != nil {
		p.answer()
	}
	if p.err != nil {
		return nil, p.err
	}
	answers := map[string]string{}
	for id, held := range p.holds {
		if held {
			answers[id] = "Malware"
		}
	}
	return answers, nil
}

func TestThePlatformIsAskedOnceForWhatNothingBringsAndItsAnswerFreesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform := &askedPlatform{holds: map[string]bool{"malware--1": true}}
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.Platform, c.BatchObjects = platform, 1 })
		outcomes := r.put(t, object(t, spokeText), object(t, linkText), object(t, toolText))
		waits := r.put(t, object(t, `{"type":"note","id":"note--3","object_refs":["malware--3"]}`))
		_ = r.Tick(t.Context())
		if len(platform.asked) > 0 {
			t.Error("asked at once")
		}
		for range 20 {
			time.Sleep(500 * time.Millisecond)
			if err := r.Tick(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := r.ids(), []string{"tool--1", "relationship--1", "report--1"}; len(got) != 3 || !slices.Contains(got, "report--1") {
			t.Errorf("sent %q before the end, want %q", got, want)
		}
		r.put(t, object(t, `{"type":"note","id":"note--1","object_refs":["malware--1","malware--2"]}`))
		r.finish(t, pipeline.Complete)
		if got, want := platform.asked, []string{"malware--1", "malware--3", "malware--2"}; !slices.Equal(got, want) {
			t.Errorf("asked for %q, want %q", got, want)
		}
		if m := r.queue.messages[3]; m.id != "note--1" || !slices.Equal(m.refs(), []string{"malware--1"}) {
			t.Errorf("%s went with %q", m.id, m.refs())
		}
		if !isDelivered(outcomes) || !isDelivered(waits) {
			t.Errorf("settled as %v and %v", *outcomes, *waits)
		}
		// The answer is remembered; the object itself is sent when it comes.
		again := newRig(2, r.index, r.waiting, func(c *Config) { c.Platform = platform })
		again.put(t, object(t, `{"type":"note","id":"note--2","object_refs":["malware--1"]}`))
		again.put(t, object(t, hubText))
		again.finish(t, pipeline.Complete)
		if len(again.queue.messages) != 2 || len(platform.asked) != 3 {
			t.Errorf("sent %q after asking for %q", again.ids(), platform.asked[3:])
		}
	})
}

func newHoldings(p Platform) (*holdings, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.WarnLevel)
	return &holdings{platform: p, index: memoryIndex{}, log: zap.New(core), asked: map[string]bool{}}, logs
}

func TestAPlatformThatDoesNotAnswerIsNotAskedAgain(t *testing.T) {
	platform := &askedPlatform{err: errors.New("you are not allowed to do this")}
	h, logs := newHoldings(platform)
	for i := range 20 {
		if held, err := h.ask(t.Context(), []string{shapeID("malware", i)}); err != nil || len(held) > 0 {
			t.Errorf("answered %q, %v", held, err)
		}
	}
	if len(platform.asked) != 1 {
		t.Errorf("asked for %q", platform.asked)
	}
	if n := logs.FilterMessageSnippet("does not say which objects it holds").Len(); n != 1 {
		t.Errorf("said so %d times", n)
	}
}

func TestThePlatformIsAskedForABoundedNumber(t *testing.T) {
	platform := &askedPlatform{}
	h, logs := newHoldings(platform)
	for i := range 21 {
		var ids []string
		for j := range 1000 {
			ids = append(ids, shapeID("malware", i*1000+j))
		}
		if _, err := h.ask(t.Context(), ids); err != nil {
			t.Fatal(err)
		}
	}
	if len(platform.asked) != askMost || platform.most > askAtOnce {
		t.Errorf("asked for %d, at most %d at once", len(platform.asked), platform.most)
	}
	if n := logs.FilterMessageSnippet("too many references").Len(); n != 1 {
		t.Errorf("said so %d times", n)
	}
}

func TestWhatWasAnsweredBeforeTheEndOfTheContextCounts(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	platform := &askedPlatform{holds: map[string]bool{}}
	platform.answer = func() {
		if len(platform.asked) > askAtOnce {
			stop(errors.New("told to stop"))
		}
	}
	h, logs := newHoldings(platform)
	var ids []string
	for i := range 2 * askAtOnce {
		ids = append(ids, shapeID("malware", i))
		platform.holds[ids[i]] = true
	}
	held, err := h.ask(ctx, ids)
	if err == nil || !slices.Equal(held, ids[:askAtOnce]) {
		t.Errorf("%d ids are held, %v", len(held), err)
	}
	if logs.Len() > 0 {
		t.Errorf("logged %v", logs.All())
	}
	for i, id := range ids {
		if _, known := h.index.Lookup(index.KeyOf(id)); known != (i < askAtOnce) {
			t.Fatalf("the index knows id %d: %v", i, known)
		}
	}
}
