package emit

import (
	"context"
	"errors"
	"fmt"
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

// asked is a platform that holds some objects and notes the questions.
type askedPlatform struct {
	holds map[string]bool
	asked []string
	most  int
	err   error
}

func (p *askedPlatform) Holds(_ context.Context, ids []string) (map[string]bool, error) {
	p.asked = append(p.asked, ids...)
	p.most = max(p.most, len(ids))
	if p.err != nil {
		return nil, p.err
	}
	return p.holds, nil
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

func TestAPlatformThatDoesNotAnswerIsNotAskedAgain(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	platform := &askedPlatform{err: errors.New("you are not allowed to do this")}
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.Platform, c.Log, c.ParkedObjects = platform, zap.New(core), 2 })
	for i := range 20 {
		r.put(t, object(t, fmt.Sprintf(`{"type":"report","id":"report--%d","object_refs":["malware--%d"]}`, i, i)))
	}
	r.finish(t, pipeline.Complete)
	if len(r.queue.messages) != 20 || len(platform.asked) == 0 || len(platform.asked) > 5 {
		t.Errorf("%d messages, asked for %q", len(r.queue.messages), platform.asked)
	}
	if n := logs.FilterMessageSnippet("does not say which objects it holds").Len(); n != 1 {
		t.Errorf("said so %d times", n)
	}
}

func TestThePlatformIsAskedForABoundedNumber(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	platform := &askedPlatform{}
	x, _, err := index.Open(t.Context(), t.TempDir(), index.Identity{}, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	r := newRig(1, memoryIndex{}, nil, func(c *Config) { c.Store, c.Platform, c.Log = x.Waiting(), platform, zap.New(core) })
	for item := range 21 {
		var objects []pipeline.Object
		for i := range 1000 {
			o := shapeObject("report", item*1000+i, shapeID("malware", item*1000+i))
			objects = append(objects, o)
		}
		r.put(t, objects...)
	}
	r.finish(t, pipeline.Complete)
	if len(r.queue.messages) != 21_000 || len(platform.asked) > askMost || len(platform.asked) < askMost-askAtOnce || platform.most > askAtOnce {
		t.Errorf("%d messages, asked for %d, at most %d at once", len(r.queue.messages), len(platform.asked), platform.most)
	}
	if n := logs.FilterMessageSnippet("too many references").Len(); n != 1 {
		t.Errorf("said so %d times", n)
	}
}
