package preview

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/transform"
)

// counted is what the mapping makes of all that data holds: objects by type, of each dataset with repeats, and of all without.
func counted(t *testing.T, s *site, data threatmatchtest.Data) (of map[string]map[string]int, distinct map[string]int) {
	t.Helper()
	transformer, err := connector.NewTransformer(s.configuration().ThreatMatch)
	must(t, err)
	of, distinct = map[string]map[string]int{}, map[string]int{}
	ids := map[string]bool{}
	take := func(item pipeline.Item) {
		objects, _ := transformer.Transform(t.Context(), item) // what is left out is no business of this test
		if of[item.Dataset] == nil {
			of[item.Dataset] = map[string]int{}
		}
		once := func(o pipeline.Object) {
			if !ids[o.ID] {
				ids[o.ID] = true
				distinct[o.Type]++
			}
		}
		for _, o := range objects {
			of[item.Dataset][o.Type]++
			once(o)
			for _, ref := range o.Refs {
				if marking, standard := transform.StandardMarking(ref); standard { // which go along
					once(marking)
				}
			}
		}
	}
	for _, name := range []string{fetch.ProfilesDataset, fetch.AlertsDataset, fetch.ReportsDataset} {
		for id := range data.IDs(name, day) {
			text, _ := data.Item(name, strconv.FormatInt(id, 10))
			take(pipeline.Item{Dataset: name, ID: strconv.FormatInt(id, 10), Data: text})
		}
	}
	indicators, _ := data.Indicators(day.AddDate(-1, 0, 0), true, 1<<30)
	for i, text := range indicators {
		take(pipeline.Item{Dataset: fetch.IndicatorsDataset, ID: strconv.Itoa(i), Data: text})
	}
	return of, distinct
}

func TestTheCountsAreThoseOfWhatThreatMatchHolds(t *testing.T) {
	data := threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 60, Alerts: 40, Reports: 5, Indicators: 3000, TieGroup: 7})
	s := newSite(t, threatmatchtest.Config{Data: data})
	o := defaults()
	o.All, o.Dataset = true, []string{"profiles", "alerts", "reports", "iocs"}
	r := s.mustLook(o)
	of, distinct := counted(t, s, data)
	for name, want := range map[string]int{"profiles": 60, "alerts": 40, "reports": 5, "iocs": 3000} {
		d := r.of(t, name)
		if d.InWindow != want || d.Read != want || !d.AllRead || d.Estimated || d.Failed != 0 || d.Later != 0 {
			t.Errorf("%s: %+v", name, d)
		}
		if diff := cmp.Diff(of[name], d.Objects); diff != "" {
			t.Errorf("objects of %s: %s", name, diff)
		}
	}
	if diff := cmp.Diff(distinct, r.Objects); diff != "" {
		t.Errorf("all objects: %s", diff)
	}
	if calls := len(s.api.Calls()); int64(calls) != r.Calls || r.Import.Estimated || r.Import.Calls > calls {
		t.Errorf("%d calls, %d counted, import %+v", calls, r.Calls, r.Import)
	}
	if _, err := os.Stat(s.env["CONNECTOR_STATE_DIR"]); !os.IsNotExist(err) {
		t.Errorf("the folder of the state: %v", err)
	}
}

func TestAPartIsReadByDefaultAndTheRestWorkedOut(t *testing.T) {
	const span = 300 * 24 * time.Hour
	begin := time.Now().Add(-span).Truncate(time.Second).UTC()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Start: begin, Profiles: 400, Indicators: 20_000, Span: span})
	s := newSite(t, threatmatchtest.Config{Data: data})
	s.env["THREATMATCH_IMPORT_FROM_DATE"] = begin.Format(time.RFC3339)
	all := defaults()
	all.All = true
	whole := s.mustLook(all)
	before := len(s.api.Calls())
	o := defaults()
	o.Items, o.Pages = 100, 20
	o.Dataset = []string{"profiles", "iocs"}
	r := s.mustLook(o)
	if p := r.of(t, "profiles"); p.InWindow != 400 || p.Read != 100 || p.AllRead || p.Estimated {
		t.Errorf("profiles: %+v", p)
	}
	if i := r.of(t, "iocs"); i.Read < 1500 || i.Read > 2000 || i.AllRead || !i.Estimated || i.InWindow < 10_000 || i.InWindow > 40_000 || i.ReadTo == nil {
		t.Errorf("iocs: %+v", i)
	}
	if made := len(s.api.Calls()) - before; made > 1+1+100+1+1+20 {
		t.Errorf("%d calls", made)
	}
	for what, pair := range map[string][2]float64{
		"calls": {float64(r.Import.Calls), float64(whole.Import.Calls)}, "messages": {float64(r.Import.Messages), float64(whole.Import.Messages)},
		"bytes": {float64(r.Import.MessageBytes), float64(whole.Import.MessageBytes)},
	} {
		if pair[0] < pair[1]/2 || pair[0] > 2*pair[1] {
			t.Errorf("%s: ~%v, and really %v", what, pair[0], pair[1])
		}
	}
	if !r.Import.Estimated || r.Relations.AllRead {
		t.Errorf("%+v, %+v", r.Import, r.Relations)
	}
}

func TestTheCallsOfAnImportAreThoseThatARunMakes(t *testing.T) {
	data := threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 30, Alerts: 20, Indicators: 950})
	r := newSite(t, threatmatchtest.Config{Data: data}).mustLook(defaults())
	// The token, two lists, the group, 50 items, and ten pages.
	if want := 1 + 2 + 1 + 50 + 10; r.Import.Calls != want {
		t.Errorf("%+v, want %d calls", r.Import, want)
	}
}

func TestTheTimeOfAnImportIsBoundByTheRateLimitOrByTheAnswers(t *testing.T) {
	took := func(each time.Duration) timing { return timing{10, 10 * each} }
	for _, tt := range []struct {
		name    string
		pace    pace
		seconds float64
		bound   string
	}{
		{"a rate limit", pace{rate: 10, concurrency: 8, items: took(400 * time.Millisecond), pages: took(time.Millisecond)}, 82.2, byRate},
		{"slow items", pace{rate: 100, concurrency: 8, items: took(400 * time.Millisecond)}, 40, byAnswers},
		{"slow pages", pace{rate: 100, concurrency: 8, items: took(400 * time.Millisecond), pages: took(40 * time.Second)}, 100, byAnswers},
		{"no rate limit", pace{concurrency: 4, items: took(100 * time.Millisecond)}, 20, byAnswers},
	} {
		g := &gathered{pace: tt.pace, feed: &feed{pages: 20, whole: true}, counter: newCounter(nil, transform.Fitter{}, window{}, 1, []*plan{{dataset: "profiles"}, {dataset: "iocs"}})}
		e := g.estimate([]Dataset{{Name: "profiles", InWindow: 800, AllRead: true}, {Name: "iocs", InWindow: 2000, AllRead: true}})
		if want := 1 + 1 + 800 + 1 + 20; e.Calls != want {
			t.Errorf("%s: %d calls", tt.name, e.Calls)
		}
		if math.Abs(e.Seconds-tt.seconds) > 0.2 || e.Bound != tt.bound {
			t.Errorf("%s: %+v", tt.name, e)
		}
	}
}

func TestHowLongOpenCTITakesIsToldAtTheRateSeenLast(t *testing.T) {
	counter := newCounter(nil, transform.Fitter{}, window{}, 1, []*plan{{dataset: "profiles"}})
	counter.datasets["profiles"].messages, counter.datasets["profiles"].items = 600, 100
	said := func(rate followup.Rate) string {
		g := &gathered{counter: counter, imports: rate}
		return g.estimate([]Dataset{{Name: "profiles", InWindow: 100, Read: 100, AllRead: true}}).opencti()
	}
	if got := said(followup.Rate{}); !strings.Contains(got, "is known once") {
		t.Errorf("without a rate: %s", got)
	}
	want := "~2m0s for its workers, at the 5 messages/s of 2025-04-17 15:24"
	if got := said(followup.Rate{PerSecond: 5, At: time.Date(2025, 4, 17, 15, 24, 0, 0, time.UTC)}); got != want {
		t.Errorf("%s", got)
	}
}

func TestTheEndOfTheWindowCuts(t *testing.T) {
	data := new(threatmatchtest.Folder)
	for i := range 20 {
		at := day.Add(time.Duration(i) * 24 * time.Hour)
		must(t, data.Put("profiles", int64(i+1), at, fmt.Appendf(nil, `[{"type":"tool","id":"tool--00000000-0000-4000-8000-%012d","name":"t"}]`, i)))
		for j := range 30 {
			id := fmt.Sprintf("indicator--00000000-0000-4000-8000-%012d", i*100+j)
			must(t, data.PutIndicator(fmt.Appendf(nil, `{"type":"indicator","id":%q,"name":"i","pattern":"[ipv4-addr:value = '1.2.3.4']","pattern_type":"stix","modified":%q}`,
				id, at.Add(time.Duration(j)*time.Minute+time.Second).Format(time.RFC3339))))
		}
	}
	s := newSite(t, threatmatchtest.Config{Data: data, PageSize: 40})
	for _, tt := range []struct {
		from, to                 string
		items, later, indicators int
	}{
		{"2025-01-01", "2025-01-11", 10, 10, 300},
		{"2025-01-03", "2025-01-05", 2, 16, 60},
		{"2025-01-03", "2025-01-05T00:10:00Z", 3, 15, 70}, // to the second
		{"2025-01-03", "2025-01-05T00:00:30Z", 3, 15, 61}, // and one that begins before is
		{"2025-01-20", "", 1, 0, 30},
	} {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			o := defaults()
			o.From, o.To = tt.from, tt.to
			o.Dataset = []string{"profiles", "iocs"}
			r := s.mustLook(o)
			if p := r.of(t, "profiles"); p.InWindow != tt.items || p.Read != tt.items || p.Later != tt.later {
				t.Errorf("profiles: %+v", p)
			}
			if p, i := r.of(t, "profiles"), r.of(t, "iocs"); p.LaterAtLeast || i.LaterAtLeast != (i.Later > 0) {
				t.Errorf("what is known for sure of what is later: %+v, %+v", p, i)
			}
			if i := r.of(t, "iocs"); i.InWindow != tt.indicators || i.Read != tt.indicators || !i.AllRead || i.Objects["indicator"] != tt.indicators {
				t.Errorf("iocs: %+v", i)
			}
		})
	}
}

func TestAnItemThatFailsIsNamedAndCountedAndFailsThePreview(t *testing.T) {
	data := threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 10, Indicators: 10})
	s := newSite(t, threatmatchtest.Config{Data: data})
	s.api.Fault(threatmatchtest.Rule{Path: "/api/stix/profiles/10003", Do: threatmatchtest.Status(404)})
	r, err := s.look(t.Context(), defaults())
	if err == nil || !strings.Contains(err.Error(), "1 of profiles could not be read") {
		t.Errorf("the error is %v", err)
	}
	p := r.of(t, "profiles")
	if r.Complete || p.Failed != 1 || p.Read != 9 || p.InWindow != 10 || len(p.Failures) != 1 || p.Failures[0].ID != "10003" || !strings.Contains(p.Failures[0].Error, "404") {
		t.Errorf("%+v", p)
	}
	if i := r.of(t, "iocs"); i.Read != 10 {
		t.Errorf("the others are read: %+v", i)
	}
}

func TestADatasetThatIsClosedLeavesTheOthers(t *testing.T) {
	data := threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 10, Alerts: 10})
	s := newSite(t, threatmatchtest.Config{Data: data})
	s.api.Fault(threatmatchtest.Rule{Path: "/api/alerts/all", Do: threatmatchtest.Status(403)})
	r, err := s.look(t.Context(), defaults())
	if err == nil || !strings.Contains(err.Error(), "switch the dataset off") {
		t.Errorf("the error is %v", err)
	}
	if p, a := r.of(t, "profiles"), r.of(t, "alerts"); p.Read != 10 || a.Error == "" || a.AllRead {
		t.Errorf("%+v, %+v", p, a)
	}
}

func TestWhoIsNotLetInIsToldWhatToCheckWithoutMoreAdo(t *testing.T) {
	secure := httptest.NewUnstartedServer(threatmatchtest.New(threatmatchtest.Config{Data: new(threatmatchtest.Folder)}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshakes are meant to fail
	secure.StartTLS()
	defer secure.Close()
	for name, tt := range map[string]struct {
		env   map[string]string
		wants string
	}{
		"a wrong secret":       {map[string]string{"THREATMATCH_CLIENT_SECRET": "wrong"}, "check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET"},
		"an unknown authority": {map[string]string{"THREATMATCH_URL": secure.URL}, "certificate signed by unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, threatmatchtest.Config{Data: new(threatmatchtest.Folder)})
			maps.Copy(s.env, tt.env)
			r, err := s.look(t.Context(), defaults())
			if r != nil || err == nil || !strings.Contains(err.Error(), tt.wants) {
				t.Errorf("%v, %+v", err, r)
			}
			if n := len(s.api.Calls()); n > 1 {
				t.Errorf("%d calls were made", n)
			}
		})
	}
}

func TestAThreatMatchThatIsNotThereIsSaidSoAfterAFewTries(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var tries atomic.Int32
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			socket, err := listener.Accept()
			if err != nil {
				return
			}
			tries.Add(1)
			socket.Close()
		}
	}()
	s := newSite(t, threatmatchtest.Config{Data: new(threatmatchtest.Folder)})
	s.env["THREATMATCH_URL"] = "http://" + listener.Addr().String()
	if r, err := s.look(t.Context(), defaults()); r != nil || err == nil || !strings.Contains(err.Error(), "THREATMATCH_URL") {
		t.Errorf("%v, %+v", err, r)
	}
	must(t, listener.Close())
	<-ended
	if tries.Load() > 4 {
		t.Errorf("it was tried %d times", tries.Load())
	}
	_, err = s.look(t.Context(), defaults())
	if want := "connection refused (2 attempts); nothing listens there; check that it runs, and THREATMATCH_URL"; err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "0s") {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestASignalEndsItWithWhatWasCountedUntilThen(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	stopped := errors.New("stopped by signal: interrupt")
	data := threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 100, Indicators: 100})
	items := make(chan struct{}, 1000)
	s := newSite(t, threatmatchtest.Config{Data: data, OnCall: func(c threatmatchtest.Call) {
		if strings.HasPrefix(c.Path, "/api/stix/") {
			items <- struct{}{}
			if len(items) == 70 {
				cancel(stopped)
			}
		}
	}})
	o := defaults()
	o.Output = t.TempDir()
	r, err := s.look(ctx, o)
	if err == nil || !strings.Contains(err.Error(), stopped.Error()) {
		t.Errorf("the error is %v", err)
	}
	p := r.of(t, "profiles")
	if r.Complete || r.Stopped != stopped.Error() || p.InWindow != 100 || p.Read == 0 || p.Read >= 100 || len(p.Objects) == 0 || p.AllRead || !r.Import.Estimated {
		t.Errorf("%+v", r)
	}
	if n := len(readBundles(t, o.Output)); n != r.Output.Objects || n == 0 {
		t.Errorf("%d objects were written, %+v", n, r.Output)
	}
}

func TestASignalBeforeAnythingIsReadSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	s := newSite(t, threatmatchtest.Config{Data: new(threatmatchtest.Folder), OnCall: func(threatmatchtest.Call) { cancel(errors.New("stopped by signal: terminated")) }})
	r, err := s.look(ctx, defaults())
	if err == nil || r == nil || r.Stopped != "stopped by signal: terminated" {
		t.Errorf("%v, %+v", err, r)
	}
}

// TestWhatIsPrintedFitsAScreen also looks at a result that has something to say everywhere.
func TestWhatIsPrintedFitsAScreen(t *testing.T) {
	data := threatmatchtest.Generate(threatmatchtest.Shape{Start: day, Profiles: 60, Alerts: 10, Indicators: 3000})
	s := newSite(t, threatmatchtest.Config{Data: data})
	s.api.Fault(threatmatchtest.Rule{Path: "/api/stix/alerts/50003", Do: threatmatchtest.Status(404)})
	s.env["CONNECTOR_MAX_MESSAGE_BYTES"] = "4000"
	o := defaults()
	o.To, o.Items, o.Pages, o.Progress, o.Sample, o.Output = "2025-02-20T00:00:00Z", 20, 4, true, 0, t.TempDir()
	var out, problems bytes.Buffer
	if err := Run(t.Context(), o, s.configuration(), Host{Stdout: &out, Stderr: &problems}); err == nil {
		t.Error("an item failed, and nothing is said of it")
	}
	for _, want := range []string{"profiles", "in the window", "too large for the queue", "alerts 50003 FAILED", "Relations:", "messages", "Written:", "--all", "changed after the window", "This preview took"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	for _, want := range []string{"profiles: 50 in the window, reading 20", "profiles 20 of 20 (done)", "objects"} {
		if !strings.Contains(problems.String(), want) {
			t.Errorf("%q is missing in\n%s", want, problems.String())
		}
	}
	for line := range strings.Lines(out.String()) {
		if wide := utf8.RuneCountInString(strings.TrimSpace(line)); wide > 100 && !strings.Contains(line, "FAILED") && !strings.Contains(line, "--") {
			t.Errorf("%d columns: %s", wide, line)
		}
	}
}

func TestTheSampleShowsManyTypes(t *testing.T) {
	data := threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 5, Indicators: 50})
	s := newSite(t, threatmatchtest.Config{Data: data})
	o := defaults()
	o.Sample = 5
	r := s.mustLook(o)
	var types []string
	for _, text := range r.Sample {
		types = append(types, typeOf(t, text))
	}
	slices.Sort(types)
	if len(types) != 5 || len(slices.Compact(types)) != 5 {
		t.Errorf("the sample shows %v", types)
	}
}

func TestAFolderThatCannotBeWrittenToIsToldOfBeforeThreatMatchIsAsked(t *testing.T) {
	data := threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 1})
	s := newSite(t, threatmatchtest.Config{Data: data, OnCall: func(c threatmatchtest.Call) { t.Errorf("%s was called", c.Path) }})
	dangling, closed := filepath.Join(t.TempDir(), "dangling"), filepath.Join(t.TempDir(), "closed")
	must(t, os.Symlink(dangling+"-to", dangling))
	must(t, os.Mkdir(closed, 0o500))
	folders := []string{filepath.Join(dangling, "x")}
	if os.Getuid() != 0 { // who may write everywhere
		folders = append(folders, closed)
	}
	for _, folder := range folders {
		o := defaults()
		o.Output = folder
		_, err := s.look(t.Context(), o)
		if wrong := new(config.Error); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "--output is ") {
			t.Errorf("%s: %v", folder, err)
		}
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	full := t.TempDir()
	must(t, os.WriteFile(full+"/mine", nil, 0o600))
	for want, change := range map[string]func(*Options){
		"--from":             func(o *Options) { o.From = "yesterday" },
		"lies in the future": func(o *Options) { o.To = "2999-01-01" },
		"at least 1":         func(o *Options) { o.Items = 0 },
		"--sample must be":   func(o *Options) { o.Sample = 101 },
		"is not empty":       func(o *Options) { o.Output = full },
		"--output":           func(o *Options) { o.Output = full + "/mine" },
		"--pages must be":    func(o *Options) { o.Pages = -1 },
	} {
		o := defaults()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is expected, not %v", want, err)
		}
	}
	s := newSite(t, threatmatchtest.Config{Data: new(threatmatchtest.Folder)})
	o := defaults()
	o.From, o.To = "2025-02-01", "2025-01-01"
	if _, err := s.look(t.Context(), o); err == nil || !strings.Contains(err.Error(), "later than the begin") {
		t.Errorf("a window that ends before it begins: %v", err)
	}
	for _, name := range []string{"PROFILES", "ALERTS", "IOCS"} {
		s.env["THREATMATCH_IMPORT_"+name] = "false"
	}
	if _, err := s.look(t.Context(), defaults()); err == nil || !strings.Contains(err.Error(), "--dataset") {
		t.Errorf("no dataset at all: %v", err)
	}
}
