package emit

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// distances lists for each message that refers to another of this run how many messages lie between it and the nearest of
// those, and fails where it came too early.
func distances(t testing.TB, messages []message) []int {
	t.Helper()
	at := map[string]int{}
	var distances []int
	for i, m := range messages {
		nearest := 0
		for _, ref := range m.refs() {
			j, found := at[ref]
			if !found {
				t.Fatalf("%s arrived before %s", m.id, ref)
			}
			if nearest == 0 || i-j < nearest {
				nearest = i - j
			}
		}
		if nearest > 0 {
			distances = append(distances, nearest)
		}
		at[m.id] = i
		if alt, ok := m.object["x_opencti_id"].(string); ok {
			at[alt] = i
		}
	}
	slices.Sort(distances)
	return distances
}

func corpusItems(t testing.TB) []pipeline.Item {
	t.Helper()
	var items []pipeline.Item
	for _, dataset := range []string{"profiles", "alerts", "indicators"} {
		f, err := os.Open(filepath.Join("..", "..", "shared", "data", "corpus", dataset+".ndjson.gz"))
		if err != nil {
			t.Skipf("the corpus is not here: %v", err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(z)
		lines.Buffer(nil, 64<<20)
		for n := 0; lines.Scan(); n++ {
			item := pipeline.Item{Dataset: dataset, ID: fmt.Sprint(n)}
			if dataset == "indicators" {
				item.Data = slices.Clone(lines.Bytes())
			} else {
				var line struct{ Objects json.RawMessage }
				if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
					t.Fatal(err)
				}
				item.Data = line.Objects
			}
			items = append(items, item)
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return items
}

func generatedItems(t testing.TB) []pipeline.Item {
	t.Helper()
	g := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 1, Profiles: 150, Alerts: 150, Indicators: 4000})
	var items []pipeline.Item
	for _, dataset := range []string{"profiles", "alerts"} {
		for id := range g.IDs(dataset, time.Time{}) {
			data, found := g.Item(dataset, fmt.Sprint(id))
			if !found {
				t.Fatalf("%s %d is not there", dataset, id)
			}
			items = append(items, pipeline.Item{Dataset: dataset, ID: fmt.Sprint(id), Data: data})
		}
	}
	after := time.Time{}
	page, _ := g.Indicators(after, true, 4000)
	for i, data := range page {
		items = append(items, pipeline.Item{Dataset: "iocs", ID: fmt.Sprint(i), Data: data})
	}
	if len(items) < 4000 {
		t.Fatalf("only %d items", len(items))
	}
	return items
}

func TestAnObjectLiesFarBehindWhatItRefersTo(t *testing.T) {
	if raceEnabled {
		t.Skip("nothing runs side by side here, and the race detector makes it slow")
	}
	transformer, err := transform.New(transform.Config{TLP: "amber", Descriptions: transform.Text})
	if err != nil {
		t.Fatal(err)
	}
	asIntrusionSets, err := transform.New(transform.Config{TLP: "amber", Descriptions: transform.Text, ThreatActorAsIntrusionSet: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		items       func(testing.TB) []pipeline.Item
		transformer *transform.Transformer
	}{
		"the corpus":                             {corpusItems, asIntrusionSets},
		"the corpus, with threat actors as such": {corpusItems, transformer}, // in which copies of one version differ
		"generated":                              {generatedItems, asIntrusionSets},
	} {
		t.Run(name, func(t *testing.T) {
			items, transformer := c.items, c.transformer
			x, waiting := memoryIndex{}, newMemoryStore()
			r := newRig(1, x, waiting, func(c *Config) { c.BatchObjects = 1000 })
			list := items(t)
			different := map[string]bool{}
			hand := func(r *rig) {
				for _, item := range list {
					objects, _ := transformer.Transform(t.Context(), item)
					for _, o := range objects {
						different[o.ID] = true
					}
					if err := r.Put(t.Context(), item, objects, func(pipeline.Outcome) {}); err != nil {
						t.Fatal(err)
					}
				}
				r.finish(t, pipeline.Complete)
			}
			hand(r)
			d := distances(t, r.queue.messages)
			t.Logf("%d messages, distances from %d over %d to %d, a tenth up to %d", len(r.queue.messages), d[0], d[len(d)/2], d[len(d)-1], d[len(d)/10])
			if median := d[len(d)/2]; median < 300 {
				t.Errorf("the median distance is %d messages, want at least 300", median)
			}
			sent, objects := map[string]string{}, 0
			for _, m := range r.queue.messages {
				text := fmt.Sprint(m.object)
				if !m.isAddition() && sent[m.id] == text {
					t.Errorf("%s was sent twice", m.id)
				}
				if !m.isAddition() && sent[m.id] == "" {
					objects++
				}
				sent[m.id] = text
			}
			for id := range different {
				if sent[id] == "" && !waiting.Has(id) {
					t.Errorf("%s was neither sent nor held back", id)
				}
			}
			if name == "the corpus" && objects != 12_155 {
				t.Errorf("%d objects, where an independent model counts 12,155", objects)
			}
			again := newRig(2, x, waiting, nil)
			hand(again)
			if len(again.queue.messages) > 0 {
				t.Errorf("a second run over the same sent %d messages, such as %s", len(again.queue.messages), again.queue.messages[0].id)
			}
		})
	}
}

func TestABatchIsSentWhenItsCountOrItsBytesAreReached(t *testing.T) {
	sizes := func(change func(*Config), objects int, bytes int) []int {
		var sent []int
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) {
			change(c)
			c.Sent = func(n int) { sent = append(sent, n) }
		})
		for i := range objects {
			r.put(t, object(t, fmt.Sprintf(`{"type":"tool","id":"tool--%d","x":%q}`, i, strings.Repeat("x", bytes))))
		}
		r.finish(t, pipeline.Complete)
		if fmt.Sprint(r.works.expected) != fmt.Sprint(sent) {
			t.Errorf("expectations %v, messages %v", r.works.expected, sent)
		}
		return sent
	}
	if got, want := sizes(func(c *Config) { c.BatchObjects = 4 }, 10, 10), []int{4, 4, 2}; !slices.Equal(got, want) {
		t.Errorf("by count: batches of %v, want %v", got, want)
	}
	if got, want := sizes(func(c *Config) { c.BatchBytes = 1000 }, 10, 270), []int{3, 3, 3, 1}; !slices.Equal(got, want) {
		t.Errorf("by bytes: batches of %v, want %v", got, want)
	}
	if got, want := sizes(func(c *Config) { c.BatchBytes = 1000 }, 3, 5000), []int{1, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("large objects: batches of %v, want %v", got, want)
	}
}

func TestABatchIsSentWhenItIsOldAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.BatchAge = 2 * time.Second })
		tick := func() {
			if err := r.Tick(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // an emitter that waits for its first object does not age
		r.put(t, object(t, `{"type":"tool","id":"tool--1"}`))
		tick()
		time.Sleep(1900 * time.Millisecond)
		r.put(t, object(t, `{"type":"tool","id":"tool--2"}`))
		tick()
		if len(r.queue.messages) > 0 || r.works.opened > 0 {
			t.Error("sent before its time")
		}
		time.Sleep(100 * time.Millisecond)
		tick()
		if got := r.ids(); len(got) != 2 {
			t.Errorf("sent %q after two seconds", got)
		}
		r.put(t, object(t, `{"type":"tool","id":"tool--3"}`))
		tick()
		if got := r.ids(); len(got) != 2 {
			t.Error("the next batch is taken for as old as the one before")
		}
		time.Sleep(2 * time.Second)
		tick()
		if got := r.ids(); len(got) != 3 {
			t.Errorf("sent %q", got)
		}
	})
}

func TestWithinABatchWhatIsReferredToComesFirstByDepth(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	var objects []pipeline.Object
	for i := range 30 {
		objects = append(objects,
			object(t, fmt.Sprintf(`{"type":"report","id":"report--%02d","object_refs":["note--%02d"]}`, i, i)),
			object(t, fmt.Sprintf(`{"type":"note","id":"note--%02d","object_refs":["tool--%02d"]}`, i, i)),
			object(t, fmt.Sprintf(`{"type":"tool","id":"tool--%02d"}`, i)))
	}
	r.put(t, objects...)
	r.finish(t, pipeline.Complete)
	for i, m := range r.queue.messages {
		if want := []string{"tool", "note", "report"}[i/30]; m.object["type"] != want {
			t.Fatalf("message %d is %s, want a %s", i, m.id, want)
		}
	}
	if d := distances(t, r.queue.messages); d[0] != 30 {
		t.Errorf("the least distance is %d, want 30", d[0])
	}
}

func TestAnEmitterThatIsToldToStopStopsWaiting(t *testing.T) {
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) {
		c.Gauge = NewGauge(&drain{told: 10}, 1, func(bool, int64) {}, c.Books.log)
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.put(t, object(t, `{"type":"tool","id":"tool--1"}`))
	if err := r.Finish(ctx, pipeline.Interrupted); err == nil {
		t.Error("finished in spite of a full queue")
	}
}
