package emit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
	"github.com/opencti-connectors/threatmatch/transform"
)

// container is a report of pieces of malware, as the mapping makes it, with all that it refers to in front.
func container(t testing.TB, refs int) []pipeline.Object {
	t.Helper()
	var malware []string
	for i := range refs {
		malware = append(malware, fmt.Sprintf(`{"type":"malware","id":%q,"name":"m","is_family":false},`, contained(i)))
	}
	return containerAlone(t, refs, malware...)
}

// containerAlone is the report behind some other objects.
func containerAlone(t testing.TB, refs int, others ...string) []pipeline.Object {
	t.Helper()
	mapper, err := transform.New(transform.Config{TLP: "amber"})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("[")
	for _, other := range others {
		text.WriteString(other)
	}
	text.WriteString(`{"type":"report","id":"report--1","created":"2025-01-01T00:00:00Z","modified":"2025-01-02T00:00:00Z","published":"2025-01-01T00:00:00Z","name":"wide","description":"all of it","object_refs":[`)
	for i := range refs {
		if i > 0 {
			text.WriteString(",")
		}
		fmt.Fprintf(&text, "%q", contained(i))
	}
	text.WriteString("]}]")
	objects, err := mapper.Transform(t.Context(), pipeline.Item{Dataset: "profiles", ID: "1", Data: []byte(text.String())})
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func contained(i int) string { return fmt.Sprintf("malware--%08d-0000-4000-8000-000000000000", i) }

// reports are the messages of a container.
func (q *queue) reports() (reports []message) {
	for _, m := range q.messages {
		if m.id == "report--1" {
			reports = append(reports, m)
		}
	}
	return reports
}

// whole wants some messages to have so many references to malware between them, and the description.
func whole(t *testing.T, reports []message, refs int) {
	t.Helper()
	found, described := map[string]bool{}, false
	for _, m := range reports {
		described = described || m.object["description"] == "all of it"
		for _, ref := range m.refs() {
			if strings.HasPrefix(ref, "malware--") {
				found[ref] = true
			}
		}
	}
	if len(found) != refs || !described {
		t.Errorf("%d messages have %d references, want %d; described: %t", len(reports), len(found), refs, described)
	}
}

func TestAContainerGoesWholeAsLongAsItFits(t *testing.T) {
	const refs = 50_000
	r := newRig(1, memoryIndex{}, newMemoryStore(), nil)
	r.put(t, container(t, refs)...)
	r.finish(t, pipeline.Complete)
	if reports := r.queue.reports(); len(reports) != 1 || len(reports[0].refs()) != refs+2 {
		t.Errorf("%d messages of the report", len(reports))
	}
}

func TestAContainerThatDoesNotFitGoesInParts(t *testing.T) {
	const refs = 300
	for name, setUp := range map[string]func(*Config, *queue){
		"into what the setting allows":        func(c *Config, _ *queue) { c.MaxMessageBytes = 6000 },
		"into what the broker takes":          func(_ *Config, q *queue) { q.takes = 6000 },
		"into what the broker takes, in time": func(_ *Config, q *queue) { q.takes, q.hold = 6000, true },
		"into what the broker takes of parts": func(c *Config, q *queue) { c.MaxMessageBytes, q.takes = 9000, 4000 },
	} {
		t.Run(name, func(t *testing.T) {
			x := memoryIndex{}
			q := &queue{}
			r := newRig(1, x, newMemoryStore(), func(c *Config) {
				setUp(c, q)
				*c = toQueue(q, *c)
			})
			r.queue = q
			objects := container(t, refs)
			outcomes := r.put(t, objects...)
			r.finish(t, pipeline.Complete)
			reports := r.queue.reports()
			if len(reports) < 3 {
				t.Errorf("%d parts", len(reports))
			}
			whole(t, reports, refs)
			if a := r.Account(); a.Refused != 0 || a.Confirmed != int64(len(objects)) || !slices.Contains(*outcomes, pipeline.Delivered) {
				t.Errorf("account %+v of %d objects, item %v", a, len(objects), *outcomes)
			}
			expected, _ := r.works.Expectations(t.Context(), "")
			if got := expected - len(r.works.leftOut); got < len(r.queue.messages) || strings.Join(r.works.leftOut, "") != "" {
				t.Errorf("the work expects %d messages, %d came; left out %q", got, len(r.queue.messages), r.works.leftOut)
			}
			// It is known like any other.
			later := newRig(2, x, newMemoryStore(), nil)
			later.put(t, objects...)
			later.finish(t, pipeline.Complete)
			if len(later.queue.messages) > 0 {
				t.Errorf("a later run sends %q again", later.ids())
			}
		})
	}
}

func TestACrashBetweenTwoPartsLosesNone(t *testing.T) {
	const refs = 300
	objects := container(t, refs)
	small := func(c *Config) { c.MaxMessageBytes = 6000 }
	all := newRig(1, memoryIndex{}, newMemoryStore(), small)
	all.put(t, objects...)
	all.finish(t, pipeline.Complete)
	parts := len(all.queue.reports())
	for crash := 1; crash < parts; crash++ {
		x, waiting := memoryIndex{}, newMemoryStore()
		r := newRig(1, x, waiting, small)
		r.queue.crashAt = len(all.queue.messages) - crash
		settled := false
		err := r.Put(t.Context(), pipeline.Item{Dataset: "profiles", ID: "1"}, objects, func(o pipeline.Outcome) { settled = settled || o == pipeline.Delivered })
		if err == nil {
			err = r.Finish(t.Context(), pipeline.Complete)
		}
		if !errors.Is(err, errCrash) || settled {
			t.Fatalf("with %d parts to come: %v, settled %t", crash, err, settled)
		}
		again := newRig(2, x, waiting, small)
		again.put(t, objects...)
		again.finish(t, pipeline.Complete)
		whole(t, again.queue.reports(), refs)
	}
}

// importing is a broker whose messages are imported at once; it keeps none.
type importing struct {
	platform         *openctitest.Platform
	messages, failed int
	bytes            []int
}

func (q *importing) Publish(_ context.Context, body []byte, settled func(error), _ func()) error {
	q.messages++
	q.bytes = append(q.bytes, len(body))
	if q.platform.Import(body) != openctitest.Imported {
		q.failed++
	}
	settled(nil)
	return nil
}

func (q *importing) Flush(context.Context, func()) error { return nil }

func TestThePlatformPutsFourHundredThousandReferencesTogether(t *testing.T) {
	const refs, limit = 400_000, 5 << 20
	platform, err := openctitest.New(openctitest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	work := openWork(t, platform)
	x := memoryIndex{}
	for i := range refs {
		platform.Hold(contained(i))
		x[index.KeyOf(contained(i))] = index.Record{Digest: 1, Run: 1, Seq: 1}
	}
	q := &importing{platform: platform}
	r := newRig(2, x, newMemoryStore(), func(c *Config) {
		c.MaxMessageBytes = limit
		*c = toQueue(q, *c)
	})
	r.cfg.Books.works = work
	r.put(t, containerAlone(t, refs)...)
	r.finish(t, pipeline.Complete)
	if q.messages < 6 || q.failed > 0 || slices.Max(q.bytes) > limit {
		t.Errorf("%d messages of up to %d bytes, %d of them failed", q.messages, slices.Max(q.bytes), q.failed)
	}
	text, _ := platform.Object("report--1")
	if got := strings.Count(string(text), `"malware--`); got != refs || !strings.Contains(string(text), "all of it") {
		t.Errorf("the platform's report has %d references", got)
	}
}

// openWork is a platform's books.
func openWork(t *testing.T, platform *openctitest.Platform) *opencti.Client {
	t.Helper()
	client, err := opencti.New(opencti.Config{URL: "http://opencti.test", ConnectorID: "0a8f3a0c-6a2e-4c58-9a43-2a8c1f0b7f11", HTTP: &http.Client{Transport: platform.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Register(t.Context(), opencti.Registration{Name: "ThreatMatch", Scope: []string{"threatmatch"}}); err != nil {
		t.Fatal(err)
	}
	return client
}

func TestThePlatformsWorkIsCompleteWithoutWhatWasLeftOut(t *testing.T) {
	platform, err := openctitest.New(openctitest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	client := openWork(t, platform)
	r := newRig(1, memoryIndex{}, newMemoryStore(), func(c *Config) { c.MaxMessageBytes = 50_000 })
	r.cfg.Books.works = client
	r.queue.takes, r.queue.hold = 5000, true
	r.put(t, bulky(t, 1, 9000), object(t, `{"type":"tool","id":"tool--1"}`), bulky(t, 2, 60_000), bulky(t, 3, 20_000))
	r.finish(t, pipeline.Complete)
	books := r.cfg.Books
	if err := books.Close(t.Context(), "done", false); err != nil {
		t.Fatal(err)
	}
	if w := platform.Works()[0]; w.Complete || len(w.Errors) != 3 {
		t.Errorf("before the rest is imported: %+v", w)
	}
	for _, body := range r.queue.bodies {
		platform.Import(body)
	}
	w := platform.Works()[0]
	if !w.Complete || w.Expected != 4 || w.Processed != 4 {
		t.Errorf("once it is: %+v", w)
	}
	report, err := client.Work(t.Context(), books.Work())
	if err != nil || report.Said() != 3 {
		t.Fatalf("%+v, %v", report, err)
	}
	for i, e := range report.Errors {
		if !e.LeftOut() || !strings.Contains(e.Message, `"bulky `) {
			t.Errorf("error %d: %+v", i, e)
		}
	}
}
