package preview

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// TestMemoryDoesNotGrowWithTheWindow looks at what a preview of a window, and of one that is twenty times as large, have kept at
// their end.
func TestMemoryDoesNotGrowWithTheWindow(t *testing.T) {
	held := func(profiles, indicators int) uint64 {
		data := threatmatchtest.Generate(threatmatchtest.Shape{Profiles: profiles, Indicators: indicators})
		s := newSite(t, threatmatchtest.Config{Data: data, KeepCalls: 10})
		o := defaults()
		o.All = true
		w, err := o.window(s.configuration(), time.Now())
		must(t, err)
		p := &preview{options: o, cfg: s.configuration(), host: Host{}, window: w, display: o.display(nil), log: zap.NewNop()}
		g, err := p.look(t.Context())
		must(t, err)
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		if r := g.result(); r.Datasets[len(r.Datasets)-1].Read != indicators {
			t.Errorf("read %+v", r.Datasets)
		}
		return stats.HeapAlloc
	}
	small := held(10, 1000)
	if large := held(200, 20_000); large > small+4<<20 {
		t.Errorf("%d bytes are held of a small window, and %d of a large one", small, large)
	}
}

func TestAFilterForgetsNothingAndMistakesNextToNothing(t *testing.T) {
	s := newSeen()
	const texts = 200_000
	name := func(i int) uint64 { return hashOf(fmt.Sprintf("indicator--%d", i)) }
	for i := range texts {
		s.add(name(i))
	}
	if s.count != texts || !s.isSure() {
		t.Errorf("%d of %d texts were new", s.count, texts)
	}
	mistaken := 0
	for i := range texts {
		if !s.has(name(i)) || s.add(name(i)) {
			t.Fatalf("text %d is forgotten", i)
		}
		if s.has(name(texts + i)) {
			mistaken++
		}
	}
	if mistaken > 0 {
		t.Errorf("%d texts are taken for others", mistaken)
	}
}

func TestWhereRepeatsAreNotSureNothingIsMissingInWhatIsWritten(t *testing.T) {
	transformer, err := transform.New(transform.Config{TLP: "amber"})
	must(t, err)
	c := newCounter(transformer, transform.Fitter{}, window{}, 1<<20, []*plan{{dataset: "profiles"}})
	c.samples = new(samples)
	c.bundles, err = newBundles(t.TempDir())
	must(t, err)
	o := pipeline.Object{ID: "tool--1", Type: "tool", JSON: []byte(`{"type":"tool","id":"tool--1"}`)}
	put := func() {
		must(t, c.Put(t.Context(), pipeline.Item{Dataset: "profiles", ID: "1"}, []pipeline.Object{o}, func(pipeline.Outcome) {}))
	}
	put()
	put()
	if c.bundles.objects != 1 {
		t.Errorf("%d copies were written", c.bundles.objects)
	}
	c.versions.count = seenSurely + 1 // as after a million others
	put()
	if c.bundles.objects != 2 || c.datasets["profiles"].messages != 1 {
		t.Errorf("%d copies were written, %d count as messages", c.bundles.objects, c.datasets["profiles"].messages)
	}
	must(t, c.bundles.close())
}

func TestBundlesAreOfBoundedSize(t *testing.T) {
	b, err := newBundles(filepath.Join(t.TempDir(), "out"))
	must(t, err)
	sizes := []int{3 << 20, 3 << 20, 3 << 20, 100, 9 << 20, 100, bundleBytes - 100, 100}
	for i, size := range sizes {
		must(t, b.add(pipeline.Object{JSON: fmt.Appendf(nil, `{"n":%d,"text":%q}`, i, strings.Repeat("x", size))}))
	}
	must(t, b.close())
	must(t, b.close())
	found := readBundles(t, b.dir)
	for i, text := range found {
		var o struct{ N int }
		if must(t, json.Unmarshal(text, &o)); o.N != i {
			t.Errorf("object %d stands at place %d", o.N, i)
		}
	}
	if len(found) != len(sizes) || b.files != 6 {
		t.Errorf("%d objects in %d files", len(found), b.files)
	}
	info, err := os.Stat(b.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, mode %v", err, info.Mode())
	}
}

func TestItemsAreSpreadEvenly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := make([]string, rapid.IntRange(0, 300).Draw(t, "ids"))
		for i := range ids {
			ids[i] = fmt.Sprint(1000 + i)
		}
		most := rapid.IntRange(0, 50).Draw(t, "most")
		got := spread(ids, most)
		want := len(ids)
		if most > 0 {
			want = min(most, want)
		}
		if len(got) != want {
			t.Fatalf("%d of %d, at most %d", len(got), len(ids), most)
		}
		for i := 1; i < len(got); i++ {
			if got[i] <= got[i-1] {
				t.Fatalf("%v", got)
			}
		}
		if want > 1 && (got[0] != ids[0] || got[want-1] != ids[len(ids)-1]) {
			t.Fatalf("%v of %v", got, ids)
		}
	})
}

// TestAWindowOfFewPagesIsReadWhole has all of it counted, wherever in the window the indicators lie.
func TestAWindowOfFewPagesIsReadWhole(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, tt := range map[string]struct {
		indicators int
		span       time.Duration
	}{
		"spread":                              {950, 250 * 24 * time.Hour},
		"on one day":                          {950, 24 * time.Hour},
		"of more pages than come in any case": {1700, year},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now().Add(-year).Truncate(time.Second).UTC()
			data := threatmatchtest.Generate(threatmatchtest.Shape{Start: begin, Indicators: tt.indicators, Span: tt.span})
			s := newSite(t, threatmatchtest.Config{Data: data})
			o := defaults()
			o.From, o.Dataset = begin.Add(-time.Second).Format(time.RFC3339), []string{"iocs"}
			if d := s.mustLook(o).of(t, "iocs"); d.Read != tt.indicators || d.InWindow != tt.indicators || !d.AllRead || d.Estimated {
				t.Errorf("%+v", d)
			}
		})
	}
}

// TestNoIndicatorCountsTwiceHoweverPagesAreSpread draws bursts and page limits.
func TestNoIndicatorCountsTwiceHoweverPagesAreSpread(t *testing.T) {
	for seed := range uint64(20) {
		draw := rand.New(rand.NewPCG(seed, 0))
		total := 200 + draw.IntN(3000)
		data := threatmatchtest.Generate(threatmatchtest.Shape{
			Seed: seed, Indicators: total, TieGroup: 1 + draw.IntN(30), Span: time.Duration(1+draw.IntN(300)) * 24 * time.Hour,
		})
		s := newSite(t, threatmatchtest.Config{Data: data, Inclusive: draw.IntN(2) == 0})
		o := defaults()
		o.Dataset, o.Pages = []string{"iocs"}, 1+draw.IntN(25)
		r := s.mustLook(o)
		d := r.of(t, "iocs")
		if d.Read > total || d.Objects["indicator"] != r.Objects["indicator"] || d.AllRead != (d.Read == total) || d.InWindow < d.Read {
			t.Errorf("seed %d: of %d, %d pages: %+v", seed, total, o.Pages, d)
		}
		if calls := s.api.Count("/api/taxii/objects"); calls > o.Pages {
			t.Errorf("seed %d: %d calls for %d pages", seed, calls, o.Pages)
		}
	}
}

// noAnswer is an API that is not there.
type noAnswer struct{ err error }

func (a noAnswer) List(context.Context, string, time.Time) ([]string, error) { return nil, a.err }
func (a noAnswer) Groups(context.Context) ([]threatmatch.Group, error)       { return nil, a.err }

func TestWhatAllCallsWouldMeetEndsThePreview(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		ends bool
	}{
		"away":       {&threatmatch.AwayError{For: time.Second, Err: os.ErrDeadlineExceeded}, true},
		"not let in": {&threatmatch.Error{Status: 401}, true},
		"forbidden":  {&threatmatch.Error{Status: 403}, false},
		"broken":     {&threatmatch.Error{Status: 500}, false},
	} {
		plans, err := survey(t.Context(), noAnswer{tt.err}, []string{"profiles", "iocs"}, window{}, 1)
		if (err != nil) != tt.ends || !tt.ends && (len(plans) != 2 || plans[0].err == nil || plans[1].err == nil) {
			t.Errorf("%s: %v, %+v", name, err, plans)
		}
	}
}
