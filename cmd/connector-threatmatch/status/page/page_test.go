package page

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

// draw draws the whole page, or live, the part of it that changes.
func draw(t *testing.T, part string, s snapshot.Snapshot) []byte {
	t.Helper()
	v := newView(s, "build")
	switch part {
	case "page":
		return v.page()
	case "live":
		return drawn(v.live())
	}
	t.Fatalf("there is no part %q", part)
	return nil
}

func TestThePageIsDrawnAsBefore(t *testing.T) {
	for name, s := range scenes() {
		t.Run(name, func(t *testing.T) { golden(t, name+".html", draw(t, "page", s)) })
	}
}

func TestThePageIsWellFormed(t *testing.T) {
	all := scenes()
	all["attacked"] = attacked()
	all["empty"] = snapshot.Snapshot{}
	for name, s := range all {
		t.Run(name, func(t *testing.T) {
			drawn := draw(t, "page", s)
			for _, wrong := range illFormed(drawn) {
				t.Error(wrong)
			}
		})
	}
}

// illFormed tells of elements that are not closed or closed by others, of ids that are not unique, and of labels that lead nowhere.
func illFormed(drawn []byte) (wrong []string) {
	void := []atom.Atom{atom.Meta, atom.Link, atom.Img, atom.Br}
	var open []string
	ids, used := map[string]bool{}, []string{}
	z := html.NewTokenizer(bytes.NewReader(drawn))
	for {
		switch z.Next() {
		case html.ErrorToken:
			for _, id := range used {
				if !ids[id] {
					wrong = append(wrong, "nothing has the id "+id)
				}
			}
			if len(open) > 0 {
				wrong = append(wrong, "left open: "+strings.Join(open, " "))
			}
			return wrong
		case html.StartTagToken:
			token := z.Token()
			if !slices.Contains(void, token.DataAtom) {
				open = append(open, token.Data)
			}
			for _, a := range token.Attr {
				switch {
				case a.Key == "id" && ids[a.Val]:
					wrong = append(wrong, "twice: the id "+a.Val)
				case a.Key == "id":
					ids[a.Val] = true
				case a.Key == "aria-labelledby":
					used = append(used, a.Val)
				case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
					wrong = append(wrong, "the policy forbids the attribute "+a.Key)
				}
			}
		case html.EndTagToken:
			name := z.Token().Data
			if len(open) == 0 || open[len(open)-1] != name {
				return append(wrong, "</"+name+"> closes "+strings.Join(open, " "))
			}
			open = open[:len(open)-1]
		}
	}
}

// elements counts the elements of a page, and what its texts and attributes hold of what attacks it.
func elements(t *testing.T, drawn []byte) (count map[string]int, texts int) {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(drawn))
	if err != nil {
		t.Fatal(err)
	}
	count = map[string]int{}
	for n := range root.Descendants() {
		switch n.Type {
		case html.ElementNode:
			count[n.Data]++
			for _, a := range n.Attr {
				count[n.Data+" "+a.Key]++
			}
		case html.TextNode:
			texts += strings.Count(n.Data, "<script>alert(1)</script>")
		}
	}
	return count, texts
}

func TestWhatIsHostileStaysText(t *testing.T) {
	harmless := attacked()
	encoded, err := json.Marshal(harmless)
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	harmless = snapshot.Snapshot{}
	if err := json.Unmarshal(bytes.ReplaceAll(encoded, quoted, []byte(`"harmless"`)), &harmless); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"page", "live"} {
		want, _ := elements(t, draw(t, part, harmless))
		got, texts := elements(t, draw(t, part, attacked()))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: hostile texts make other elements: %s", part, diff)
		}
		if texts < 30 {
			t.Errorf("%s: only %d of the hostile texts are shown", part, texts)
		}
	}
}

// get asks r and returns the answer with its body.
func get(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

func TestEveryAnswerIsForThisPageAlone(t *testing.T) {
	r := serve(t, running(), soon)
	for path, want := range map[string]struct{ kind, cache string }{
		"/":           {"text/html; charset=utf-8", "no-store"},
		"/api/status": {"application/json", "no-store"},
		"/page.css":   {"text/css; charset=utf-8", "no-cache"},
		"/page.js":    {"text/javascript; charset=utf-8", "no-cache"},
		"/api/events": {"text/event-stream", "no-store"},
	} {
		answer, body := get(t, http.MethodHead, r.URL+path)
		h := answer.Header
		if answer.StatusCode != http.StatusOK || body != "" || h.Get("Content-Type") != want.kind || h.Get("Cache-Control") != want.cache {
			t.Errorf("%s: %s %v", path, answer.Status, h)
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", path, h)
		}
		if answer, _ := get(t, http.MethodPost, r.URL+path); answer.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %s", path, answer.Status)
		}
	}
	if answer, _ := get(t, http.MethodGet, r.URL+"/other"); answer.StatusCode != http.StatusNotFound {
		t.Errorf("another path: %s", answer.Status)
	}
}

func TestTheSnapshotIsToldAsJSON(t *testing.T) {
	want := running()
	r := serve(t, want, soon)
	_, body := get(t, http.MethodGet, r.URL+"/api/status")
	var got snapshot.Snapshot
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAFileIsSentOnceForAProgram(t *testing.T) {
	r := serve(t, running(), soon)
	first, body := get(t, http.MethodGet, r.URL+"/page.css")
	if first.StatusCode != http.StatusOK || body != string(content("page.css")) {
		t.Fatalf("%s, %d bytes", first.Status, len(body))
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/page.css", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("If-None-Match", first.Header.Get("ETag"))
	again, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer again.Body.Close()
	if again.StatusCode != http.StatusNotModified {
		t.Error(again.Status)
	}
}

func TestTheFourAnswers(t *testing.T) {
	for name, want := range map[string][4]string{
		"starting":        {"OpenCTI", "Not known yet", "Not known yet", "Nothing"},
		"at-rest":         {"Nothing", "All is imported", "Nothing is under way", "Nothing"},
		"running":         {"ThreatMatch", "40 % of alerts read", "about 13:26 UTC", "Nothing"},
		"throttled":       {"ThreatMatch", "40 % of alerts read", "about 15:54 UTC", "Nothing"},
		"backfill":        {"OpenCTI", "41 % of iocs read", "roughly 14:13 UTC", "Nothing"},
		"buffering":       {"OpenCTI", "70 % of iocs read", "roughly 6 Mar, 02:43 UTC", "1 thing"},
		"broker-away":     {"RabbitMQ", "40 % of alerts read", "Not known", "1 thing"},
		"after-failure":   {"ThreatMatch", "Not complete", "Nothing is under way", "1 thing"},
		"stopping":        {"It stops", "40 % of alerts read", "Within seconds", "Nothing"},
		"stopped":         {"Nothing", "All is imported", "Nothing is under way", "Nothing"},
		"opencti-unknown": {"ThreatMatch", "40 % of alerts read", "Not known", "1 thing"},
	} {
		var got [4]string
		for i, a := range newView(scenes()[name], "").Answers {
			got[i] = a.Says
			if a.When.Known() {
				got[i] += " " + a.When.Clock()
			}
		}
		if got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestWhatLimitsARunIsSaidOnce(t *testing.T) {
	s := running()
	s.Way[0].Says = "the run waits for THREATMATCH_RATE_LIMIT" // as the station says it, too
	if got, want := limits(s).Notes, []string{"The run waits for THREATMATCH_RATE_LIMIT."}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestTheEndIsNotSaidToBeKnownWhereSomethingIsMissing(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*snapshot.Snapshot)
		want   certainty
	}{
		"all is known":                  {func(*snapshot.Snapshot) {}, about},
		"OpenCTI's pace decides":        {func(s *snapshot.Snapshot) { s.Way[0].Slowest, s.Way[3].Slowest = false, true }, roughly},
		"the queue is full":             {func(s *snapshot.Snapshot) { s.Queue.Buffering = true }, roughly},
		"how long reading takes":        {func(s *snapshot.Snapshot) { s.Run.Remaining = 0 }, roughly},
		"how much there is to read":     {func(s *snapshot.Snapshot) { s.Run.Remaining, s.Run.Datasets[1].Share, s.Run.Datasets[1].Left = 0, 0, 0 }, notBefore},
		"how fast OpenCTI imports":      {func(s *snapshot.Snapshot) { s.Imports.Rate = 0 }, notBefore},
		"nothing, for all that is sent": {func(s *snapshot.Snapshot) { s.Run = nil }, about},
	} {
		s := running()
		test.change(&s)
		if _, got := remaining(s); got != test.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestAStartIsGivenAMinute(t *testing.T) {
	s := starting()
	if newView(s, "").Alarm {
		t.Error("a start calls for somebody at once")
	}
	s.Started = before(2 * time.Minute)
	if !newView(s, "").Alarm {
		t.Error("nobody hears of an OpenCTI that is never reached")
	}
}

func TestWhatIsEarlierIsThereOnRequest(t *testing.T) {
	s := atRest()
	for i := range 3 * atOnce {
		at := before(time.Duration(i) * time.Hour)
		s.Problems = append(s.Problems, snapshot.Problem{At: at, Says: "a problem", Reason: "why"})
		s.History = append(s.History, snapshot.Run{Purpose: "import", Began: at, Ended: at, Outcome: "an old run"})
	}
	v := newView(s, "")
	if len(v.Problems) != atOnce || len(v.Runs) != atOnce || v.Problems[0].Says != "a problem" || v.Runs[0].Outcome != "complete" {
		t.Errorf("%d problems and %d runs", len(v.Problems), len(v.Runs))
	}
	drawn := draw(t, "page", s)
	for text, want := range map[string]int{"A problem.": 3 * atOnce, "an old run": 3 * atOnce, "earlier</summary>": 2} {
		if got := bytes.Count(drawn, []byte(text)); got != want {
			t.Errorf("%d times %q, want %d", got, text, want)
		}
	}
	for _, wrong := range illFormed(drawn) {
		t.Error(wrong)
	}
}

func TestFigures(t *testing.T) {
	most := 36. / 40 // no constant: as the program reckons it, 1 less this is a little less than 0.1
	for _, test := range []struct{ got, want string }{
		{rate(1234.5, "items"), "1,235 items/s"}, {rate(4.94, "items"), "4.9 items/s"}, {rate(0.05, "items"), "3 items/min"},
		{rate(0.005, "items"), "18 items/h"}, {rate(0, "items"), "0 items/s"}, {rate(math.NaN(), "items"), "0 items/s"}, {rate(math.Inf(1), "items"), "0 items/s"},
		{percent(0), "0 %"}, {percent(0.001), "less than 1 %"}, {percent(0.9999), "99 %"}, {percent(1), "100 %"}, {percent(1 - most), "10 %"}, {percent(1 - 1e-12), "99 %"}, {percent(math.NaN()), "0 %"},
		{seconds(0.2), "less than 1 s"}, {seconds(41), "41 s"}, {seconds(1990), "33 min"}, {seconds(60000), "16 h 40 min"}, {seconds(3600 * 3), "3 h"},
		{seconds(3600 * 76), "3 days 4 h"}, {seconds(1e300), "36,500 days"},
		{sentence("is full"), "Is full."}, {sentence("Well."), "Well."}, {sentence(""), ""},
		{newMoment(now.Add(time.Hour), now).Clock(), "14:20 UTC"}, {newMoment(now.Add(24*time.Hour), now).Clock(), "6 Mar, 13:20 UTC"},
		{newMoment(now.AddDate(-1, 0, 0), now).Clock(), "5 Mar 2025, 13:20 UTC"}, {newMoment(now, now).Relative(), "now"},
		{newMoment(before(20*time.Minute), now).Relative(), "20 min ago"}, {newMoment(now.Add(2*time.Hour), now).Relative(), "in 2 h"},
		{newMoment(now.In(time.FixedZone("", 7200)), now).Clock(), "13:20 UTC"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestAProblemKeepsItsKeyWhenNewerOnesCome(t *testing.T) {
	s := afterFailure()
	s.Problems[1].At = s.Problems[0].At
	keys := func(s snapshot.Snapshot) (all []string) {
		for _, p := range newView(s, "").Problems {
			all = append(all, p.Key)
		}
		return all
	}
	old := keys(s)
	if old[0] == old[1] {
		t.Errorf("two have one key: %q", old)
	}
	s.Problems = append([]snapshot.Problem{{At: s.Problems[0].At, Says: "another of that moment"}}, s.Problems...)
	if diff := cmp.Diff(old, keys(s)[1:]); diff != "" {
		t.Error(diff)
	}
}
