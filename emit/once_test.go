package emit

import (
	"fmt"
	"slices"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// copyOf is a copy of one object, as of a second of a day and with a name.
func copyOf(t failer, second int, name string) pipeline.Object {
	t.Helper()
	modified := ""
	if second > 0 {
		modified = fmt.Sprintf(`,"modified":"2026-01-01T00:00:%02d.000Z"`, second)
	}
	return object(t, fmt.Sprintf(`{"type":"malware","id":"malware--1","name":%q%s}`, name, modified))
}

func TestACopyIsSentOnceForEachChange(t *testing.T) {
	type copies []struct {
		second int // of modified, 0 for none
		name   string
	}
	for name, c := range map[string]struct {
		first, second copies // two runs, or two items of one run
		within        []string
		between       []string
	}{
		"the same":     {copies{{1, "a"}}, copies{{1, "a"}}, []string{"a"}, []string{"a"}},
		"a newer one":  {copies{{1, "a"}}, copies{{2, "b"}}, []string{"a", "b"}, []string{"a", "b"}},
		"an older one": {copies{{2, "b"}}, copies{{1, "a"}}, []string{"b"}, []string{"b"}},
		"the same version with other content": {
			// Within a run these are copies, of which one has the last word, whichever comes first; between runs the source has
			// changed it.
			copies{{1, "a"}}, copies{{1, "b"}}, []string{"a", "b"}, []string{"a", "b"}},
		"likewise, in the other order":     {copies{{1, "b"}}, copies{{1, "a"}}, []string{"b"}, []string{"b", "a"}},
		"the same without modified":        {copies{{0, "a"}}, copies{{0, "a"}}, []string{"a"}, []string{"a"}},
		"another one without modified":     {copies{{0, "a"}}, copies{{0, "b"}}, []string{"a", "b"}, []string{"a", "b"}},
		"without modified after one with":  {copies{{1, "a"}}, copies{{0, "b"}}, []string{"a"}, []string{"a"}},
		"with modified after one without":  {copies{{0, "a"}}, copies{{1, "b"}}, []string{"a", "b"}, []string{"a", "b"}},
		"newer, then an older one again":   {copies{{1, "a"}, {3, "c"}}, copies{{2, "b"}, {3, "c"}}, []string{"a", "c"}, []string{"a", "c"}},
		"three newer ones after the other": {copies{{1, "a"}, {2, "b"}}, copies{{3, "c"}}, []string{"a", "b", "c"}, []string{"a", "b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			put := func(r *rig, c copies) {
				for _, one := range c {
					outcomes := r.put(t, copyOf(t, one.second, one.name))
					t.Cleanup(func() {
						if !slices.Contains(*outcomes, pipeline.Delivered) {
							t.Errorf("the item of %v was not settled: %v", one, *outcomes)
						}
					})
				}
			}
			sent := func(rigs ...*rig) (names []string) {
				for _, r := range rigs {
					for _, m := range r.queue.messages {
						names = append(names, m.object["name"].(string))
					}
				}
				return names
			}
			// Within a run, the first copies delivered before the second come.
			r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.BatchObjects = 1 })
			put(r, c.first)
			put(r, c.second)
			r.finish(t, pipeline.Complete)
			if got := sent(r); !slices.Equal(got, c.within) {
				t.Errorf("a run sent %q, want %q", got, c.within)
			}
			// Between runs.
			one := newRig(1, memoryIndex{}, newMemoryStore(), nil)
			put(one, c.first)
			one.finish(t, pipeline.Complete)
			two := newRig(2, one.index, one.waiting, nil)
			put(two, c.second)
			two.finish(t, pipeline.Complete)
			if got := sent(one, two); !slices.Equal(got, c.between) {
				t.Errorf("two runs sent %q, want %q", got, c.between)
			}
			if opened := two.works.opened; (opened == 0) != (len(two.queue.messages) == 0) {
				t.Errorf("the second run opened %d works for %d messages", opened, len(two.queue.messages))
			}
		})
	}
}

func TestACopySharesTheFateOfTheOneThatIsUnderWay(t *testing.T) {
	for name, c := range map[string]struct {
		batch int
		hold  bool
	}{"placed, not sent": {1000, false}, "sent, not confirmed": {1, true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(1, memoryIndex{}, newMemoryStore(), func(cfg *Config) { cfg.BatchObjects = c.batch })
			r.queue.hold = c.hold
			first := r.put(t, copyOf(t, 1, "a"))
			second := r.put(t, copyOf(t, 1, "a"))
			older := r.put(t, copyOf(t, 0, "x"))
			for _, outcomes := range []*[]pipeline.Outcome{first, second, older} {
				if len(*outcomes) > 0 {
					t.Errorf("an item was settled as %v before its object was confirmed", *outcomes)
				}
			}
			newer := r.put(t, copyOf(t, 2, "b"))
			r.finish(t, pipeline.Complete)
			for _, outcomes := range []*[]pipeline.Outcome{first, second, older, newer} {
				if !slices.Equal(*outcomes, []pipeline.Outcome{pipeline.Delivered}) {
					t.Errorf("an item was settled as %v, want once as delivered", *outcomes)
				}
			}
			if got := len(r.queue.messages); got != 2 || r.queue.messages[1].object["name"] != "b" {
				t.Errorf("%d messages, want the first copy and then the newer one", got)
			}
			if a := r.Account(); a.Repeated != 2 || a.Messages != 2 || a.Confirmed != 2 {
				t.Errorf("account: %+v", a)
			}
		})
	}
}

func TestTheIndexKeepsTheNewestVersionInWhateverOrderTheConfirmsCome(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {2, 0, 1}, {1, 2, 0}, {1, 0, 2}, {0, 2, 1}} {
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.BatchObjects = 1 })
		r.queue.hold = true
		for second := 1; second <= 3; second++ {
			r.put(t, copyOf(t, second, fmt.Sprint(second)))
		}
		for _, i := range order {
			r.queue.held[i](nil)
		}
		r.queue.held = nil
		r.finish(t, pipeline.Complete)
		again := newRig(2, r.index, r.waiting, nil)
		again.put(t, copyOf(t, 3, "3"))
		again.finish(t, pipeline.Complete)
		if len(again.queue.messages) > 0 {
			t.Errorf("confirms came as %v, and the newest version counts as never sent", order)
		}
		if len(r.order.live) > 0 {
			t.Errorf("confirms came as %v, and %d objects stay in memory", order, len(r.order.live))
		}
	}
}

func TestAReferenceByTheSecondIDIsAsGoodAsByTheFirst(t *testing.T) {
	hub := `{"type":"malware","id":"malware--1","x_opencti_id":"5a5a0000-0000-4000-8000-000000000001"}`
	spoke := `{"type":"report","id":"report--1","object_refs":["5a5a0000-0000-4000-8000-000000000001"]}`
	for name, texts := range map[string][]string{"referred to first": {spoke, hub}, "brought first": {hub, spoke}} {
		r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
		for _, text := range texts {
			r.put(t, object(t, text))
		}
		r.finish(t, pipeline.Complete)
		if got, want := r.ids(), []string{"malware--1", "report--1"}; !slices.Equal(got, want) {
			t.Errorf("%s: sent %q, want %q", name, got, want)
		}
		if m := r.queue.messages[len(r.queue.messages)-1]; m.sequence != 2 || len(m.refs()) != 1 {
			t.Errorf("%s: sequence %d, references %q", name, m.sequence, m.refs())
		}
		later := newRig(2, r.index, r.waiting, nil)
		later.put(t, object(t, `{"type":"note","id":"note--1","object_refs":["5a5a0000-0000-4000-8000-000000000001"]}`))
		later.finish(t, pipeline.Complete)
		if got := later.queue.messages[0].refs(); len(got) != 1 {
			t.Errorf("%s: a later run took the reference away", name)
		}
	}
}

func TestAVersionThatLosesItsSecondIDLeavesNobodyWaiting(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	r.put(t,
		object(t, `{"type":"report","id":"report--1","x_opencti_id":"5a5a0000-0000-4000-8000-000000000001","modified":"2026-01-01T00:00:01Z","object_refs":["malware--9"]}`),
		object(t, `{"type":"note","id":"note--1","object_refs":["5a5a0000-0000-4000-8000-000000000001"]}`))
	r.put(t, object(t, `{"type":"report","id":"report--1","modified":"2026-01-01T00:00:02Z","object_refs":["malware--9"]}`))
	r.finish(t, pipeline.Complete)
	if got, want := r.ids(), []string{"note--1", "report--1"}; !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if len(r.order.live) > 0 {
		t.Errorf("%d objects stay in memory", len(r.order.live))
	}
}

func TestCopiesOfOneVersionThatDifferAreNotSentInTurns(t *testing.T) {
	copies := []pipeline.Object{copyOf(t, 1, "a"), copyOf(t, 1, "b"), copyOf(t, 1, "c")}
	for name, batch := range map[string]int{"under way together": 1000, "one after the other": 1} {
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.BatchObjects = batch })
		for run := uint32(1); run < 5; run++ {
			for _, o := range copies {
				r.put(t, o)
			}
			r.finish(t, pipeline.Complete)
			if got := len(r.queue.messages); (got > 0) != (run == 1) {
				t.Errorf("%s: run %d sent %d messages", name, run, got)
			}
			r = newRig(run+1, r.index, r.waiting, nil)
			slices.Reverse(copies)
		}
		r.put(t, copyOf(t, 1, "d"))
		r.finish(t, pipeline.Complete)
		if len(r.queue.messages) != 1 {
			t.Errorf("%s: a content that was never seen was not sent", name)
		}
	}
}

func TestACopyOfWhatWentWithoutAReferenceDoesNotHideIt(t *testing.T) {
	report := object(t, `{"type":"report","id":"report--1","modified":"2026-01-01T00:00:01Z","object_refs":["malware--1"]}`)
	waiting := newMemoryStore()
	r := newRig(1, memoryIndex{}, waiting, nil)
	r.put(t, report)
	r.finish(t, pipeline.Complete)
	r.put(t, report) // delivered in this run, without its reference
	r.finish(t, pipeline.Complete)
	waiting = newMemoryStore() // as if a crash had come before the disk knew
	r = newRig(2, r.index, waiting, nil)
	outcomes := r.put(t, report)
	r.finish(t, pipeline.Complete)
	if !waiting.Has("report--1") || !slices.Contains(*outcomes, pipeline.Delivered) || len(r.queue.messages) > 0 {
		t.Errorf("the disk remembers it: %v, settled as %v, %d messages", waiting.Has("report--1"), *outcomes, len(r.queue.messages))
	}
}
