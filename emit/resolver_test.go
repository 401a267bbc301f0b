package emit

import (
	"fmt"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestThePartOfAFailedRunIsCleanedOnlyWhereTheDiskRemembersIt(t *testing.T) {
	for durable, want := range map[bool]int{true: 1, false: 0} {
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.Durable = durable })
		outcomes := r.put(t, object(t, spokeText))
		r.finish(t, pipeline.Partial)
		if len(r.queue.messages) != want || isDelivered(outcomes) != durable {
			t.Errorf("durable %v: sent %q, settled as %v", durable, r.ids(), *outcomes)
		}
	}
}

// TestWithoutADurableDiskARunBringsWhatItHasRoomFor parks more than may wait where the shelf is gone with the process: the oldest go
// without, as they do elsewhere, and whole in the same process once that has come.
func TestWithoutADurableDiskARunBringsWhatItHasRoomFor(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.Durable, c.ParkedObjects, c.BatchObjects = false, 10, 1 })
	put := func(i int) {
		r.put(t, object(t, fmt.Sprintf(`{"type":"report","id":"report--%02d","object_refs":["malware--1"]}`, i)))
	}
	for i := range 10 {
		put(i)
	}
	if len(r.queue.messages) > 0 {
		t.Errorf("%d messages went without a reference that is lost with the process, while there was room", len(r.queue.messages))
	}
	for i := range 90 {
		put(10 + i)
	}
	if a := r.Account(); a.Parked > 10 || len(r.queue.messages) < 90 {
		t.Errorf("%d objects wait, where 10 may, and %d were sent", a.Parked, len(r.queue.messages))
	}
	r.put(t, object(t, hubText))
	r.finish(t, pipeline.Complete)
	whole := map[string]bool{}
	for _, m := range r.queue.messages {
		if slices.Contains(m.refs(), "malware--1") {
			whole[m.id] = true
		}
	}
	if len(whole) != 100 {
		t.Errorf("%d of 100 objects were sent with their reference", len(whole))
	}
}

func TestARelationThatWaitsTooLongIsSentInTheVeryRunThatBringsItsEnd(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	waiting := newMemoryStore()
	r := newRig(1, memoryIndex{}, waiting, func(c *Config) { c.ParkedObjects, c.BatchObjects, c.Log = 4, 1, zap.New(core) })
	first := r.put(t, object(t, linkText), object(t, toolText))
	for i := range 40 {
		r.put(t, object(t, fmt.Sprintf(`{"type":"report","id":"report--%02d","object_refs":["malware--1"]}`, i)))
	}
	if !isDelivered(first) || slices.Contains(r.ids(), "relationship--1") {
		t.Errorf("the first item was settled as %v; sent %q", *first, r.ids())
	}
	if a := r.Account(); a.Parked > 4 {
		t.Errorf("%d objects wait, where 4 may", a.Parked)
	}
	r.put(t, object(t, hubText))
	r.finish(t, pipeline.Complete)
	whole := map[string]bool{}
	for _, m := range r.queue.messages {
		if slices.Contains(m.refs(), "malware--1") {
			if whole[m.id] {
				t.Errorf("%s was sent whole twice", m.id)
			}
			whole[m.id] = true
		}
	}
	if len(whole) != 41 {
		t.Errorf("%d of 41 objects were sent with their reference", len(whole))
	}
	if len(waiting.byID) > 0 {
		t.Errorf("%d objects stay on disk", len(waiting.byID))
	}
	if n := logs.FilterMessageSnippet("many objects wait").Len(); n != 1 {
		t.Errorf("said so %d times", n)
	}
	again := newRig(2, r.index, waiting, nil)
	again.put(t, object(t, linkText), object(t, toolText), object(t, hubText))
	again.finish(t, pipeline.Complete)
	if len(again.queue.messages) > 0 {
		t.Errorf("the next run sent %q", again.ids())
	}
}
