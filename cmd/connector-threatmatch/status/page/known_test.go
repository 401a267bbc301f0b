package page

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

// textOf is what the page says in words, each run of blanks as one.
func textOf(t *testing.T, s snapshot.Snapshot) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(string(draw(t, "live", s))))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.TextNode {
			text.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(text.String()), " ")
}

// wants checks what the page says, and what it must not.
func wants(t *testing.T, s snapshot.Snapshot, said []string, unsaid ...string) {
	t.Helper()
	text := textOf(t, s)
	for _, want := range said {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	for _, wrong := range unsaid {
		if strings.Contains(text, wrong) {
			t.Errorf("it says %q:\n%s", wrong, text)
		}
	}
}

func TestNothingIsKnownOfImportsBeforeOpenCTIIsAsked(t *testing.T) {
	s := atRest()
	s.Imports = snapshot.Imports{Open: 2}
	wants(t, s, []string{"not asked yet", "not known yet"}, "All is imported", "nothing to import", "through with", "0 messages/s OpenCTI", "was asked at")
	if says := howFar(s).Says; says != "Not known" {
		t.Errorf("it is %q", says)
	}
	if says := ends(s).Says; says != "Not known" {
		t.Errorf("it ends %q", says)
	}
	s.Imports = snapshot.Imports{}
	wants(t, s, []string{"All is imported", "OpenCTI has nothing to import."}, "not asked yet", "was asked at")
	s.Imports.AsOf = before(time.Second)
	wants(t, s, []string{"OpenCTI was asked at"})
}

func TestARateThatWasNotMeasuredYetIsNotZero(t *testing.T) {
	s := running()
	s.Run.Began, s.Imports.Lately, s.Way[3].Rate = before(29*time.Second), 0, 0
	if got := pass(s, s.Way[3]); got != "not known yet" {
		t.Errorf("early in a run: %q", got)
	}
	wants(t, s, []string{"Pace not known yet"})
	s.Run.Began = before(31 * time.Second)
	if got := pass(s, s.Way[3]); got != "0 messages/s" {
		t.Errorf("later: %q", got)
	}
	s.Run, s.Started = nil, before(10*time.Second)
	if got := pass(s, s.Way[3]); got != "not known yet" {
		t.Errorf("early in the program: %q", got)
	}
	s.Imports = snapshot.Imports{AsOf: now}
	if got := pass(s, s.Way[3]); got != "0 messages/s" {
		t.Errorf("with nothing to import: %q", got)
	}
}

func TestWhatIsKnownOfAnOpenCTIThatCannotBeAskedHasItsTime(t *testing.T) {
	s := unknown()
	s.Imports.AsOf = time.Date(2026, 3, 5, 13, 3, 0, 0, time.UTC)
	for name, run := range map[string]*snapshot.Run{"during a run": s.Run, "between runs": nil} {
		s.Run = run
		if a := ends(s); a.Says != "Not known" || a.When.Known() {
			t.Errorf("%s it ends %q", name, a.Says)
		}
		wants(t, s, []string{"As of 13:03 UTC OpenCTI was through with 67 %", "as of 13:03 UTC"}, "Pace", "Imported by", "204 messages/s", "0 messages/s OpenCTI")
		if got := pass(s, s.Way[3]); got != "not known" {
			t.Errorf("%s its figure is %q", name, got)
		}
		well := s
		well.Way = slices.Clone(s.Way)
		well.Way[3].Trouble = false // though the way does not say so
		if a := ends(well); a.Says != "Not known" {
			t.Errorf("%s it ends %q", name, a.Says)
		}
	}
}

func TestWhatFailedIsNotSaidToBeImported(t *testing.T) {
	s := atRest()
	s.Imports = snapshot.Imports{Open: 1, Expected: 9000, Done: 9000, AsOf: now, Failed: []snapshot.Count{{Name: "UNSUPPORTED_ERROR", Count: 4}}}
	wants(t, s, []string{"Through, 4 of them failed", "9,000 messages, 4 of them failed."}, "All is imported")
}

func TestWhatOpenCTIWasSentIsOfEarlierRunsToo(t *testing.T) {
	s := running()
	s.Run.Sent, s.Imports.Expected, s.Imports.Done = 136, 1984, 992
	wants(t, s, []string{"136 objects sent. OpenCTI is through with 50 % of all that it was sent, earlier runs included: 992 of 1,984 messages."}, "% of that")
}

func TestWorkersThatDoNothingNeedAHand(t *testing.T) {
	s := atRest()
	s.Imports = snapshot.Imports{Open: 1, Expected: 9000, Done: 40, AsOf: now, Rate: 61, RateAt: before(time.Hour)}
	s.Way[3].Slowest = true
	v := newView(s, "")
	if hands := v.Answers[3]; len(hands.Notes) != 1 || !strings.Contains(hands.Notes[0], "workers") {
		t.Errorf("got %q", hands.Notes)
	}
	if ends := v.Answers[2]; ends.Says != "Not known" || ends.Notes[0] != "OpenCTI imports nothing at the moment." {
		t.Errorf("it ends %q, %q", ends.Says, ends.Notes)
	}
	if limits := v.Answers[0]; limits.Says != "OpenCTI" || !strings.Contains(limits.Notes[0], "stand still") {
		t.Errorf("it is limited by %q, %q", limits.Says, limits.Notes)
	}
	early := s
	early.Started = before(time.Minute) // nothing is known of them yet
	if newView(early, "").Alarm {
		t.Error("somebody is called who is not needed")
	}
	s.History[0].Ended = before(3 * time.Second) // and has sent it just before
	if newView(s, "").Alarm {
		t.Error("a run that ended a moment ago calls for somebody")
	}
}

func TestTheNextRunIsNeverInThePast(t *testing.T) {
	s := atRest()
	s.NextRun = before(27 * time.Second)
	s.Way[1].Says, s.Says = "at rest; the next run begins in 0ms", "At rest until 2026-03-05 13:20 UTC."
	wants(t, s, []string{"At rest. The next run is due.", "At rest; the next run is due."}, "27 s ago", "in 0", "At rest until")
	s.Way[3].Trouble = true
	wants(t, s, []string{"The next run is due; it waits for OpenCTI.", "Next run due; it waits for OpenCTI"}, "27 s ago")
	s = backfilling()
	s.NextRun = before(27 * time.Second)
	wants(t, s, []string{"Next run due, after the one under way"}, "27 s ago")
}

func TestARunThatStopsIsNoTrouble(t *testing.T) {
	s := stoppingRun()
	wants(t, s, []string{"Stopping: the run settles what is under way, and then the connector stops.", "Within seconds", "The run settles what is under way and then stops.", "Next run after the next start"},
		"Needs a hand", "ago)To", "to go", "27 s ago")
	s.Way[2].Trouble, s.Ready = true, snapshot.Verdict{Reason: brokerIsAway} // it closes its connection
	if v := newView(s, ""); v.Alarm {
		t.Errorf("it calls for somebody: %q", v.Answers[3].Notes)
	}
	if !strings.HasPrefix(newView(s, "").State(), "Stopping.") {
		t.Error("nobody is told that it stops")
	}
}

func TestARunThatWasToldToStopDidNotFail(t *testing.T) {
	s := atRest()
	s.History = []snapshot.Run{{Purpose: "import", Began: before(time.Hour), Ended: before(50 * time.Minute), Failed: true, Outcome: "told to stop"}}
	v := newView(s, "")
	if v.Alarm || v.Runs[0].Wrong {
		t.Errorf("it calls for somebody: %q", v.Answers[3].Notes)
	}
	if a := v.Answers[1]; a.Says != "Not complete" || a.Notes[0] != "The last run was told to stop; the next does what is left." {
		t.Errorf("it is %q, %q", a.Says, a.Notes)
	}
}

func TestNoFigureOfADatasetContradictsTheEnd(t *testing.T) {
	s := running()
	if got := newView(s, "").ToGo(s.Run.Datasets[1]); got != "about 6 min to go" {
		t.Errorf("got %q", got)
	}
	s.Run.Datasets[1].Until = now
	if got := newView(s, "").ToGo(s.Run.Datasets[1]); got != "about 6 min to go if the rest of the window holds as many" {
		t.Errorf("in order of time: %q", got)
	}
	for name, change := range map[string]func(*snapshot.Snapshot){
		"a station in trouble": func(s *snapshot.Snapshot) { s.Way[0].Trouble = true },
		"a full queue":         func(s *snapshot.Snapshot) { s.Queue.Buffering = true },
		"a slow OpenCTI":       func(s *snapshot.Snapshot) { s.Way[0].Slowest, s.Way[3].Slowest = false, true },
	} {
		s := running()
		change(&s)
		if got := newView(s, "").ToGo(s.Run.Datasets[1]); got != "" {
			t.Errorf("%s: %q", name, got)
		}
		wants(t, s, nil, "to go", "Reading and sending: about", "Imported by")
	}
}

func TestTheHeadlineTellsNoOtherEnd(t *testing.T) {
	for name, s := range map[string]snapshot.Snapshot{"buffering": buffering(), "unknown": unknown(), "broker-away": brokerAway(), "backfill": backfilling()} {
		v := newView(s, "")
		if v.Headline() == "" || strings.Contains(v.Headline(), "left") || strings.Contains(v.Tells(s.Way[3]), "left") {
			t.Errorf("%s: %q, %q", name, v.Headline(), v.Tells(s.Way[3]))
		}
	}
	s := atRest()
	s.Imports = snapshot.Imports{Open: 1, Expected: 9000, Done: 40, AsOf: now, Remaining: 99}
	s.Says = "At rest until 2026-03-05 16:22 UTC. OpenCTI has imported " + s.Imports.String() + "."
	if got, want := newView(s, "").Headline(), "At rest until 2026-03-05 16:22 UTC."; got != want {
		t.Errorf("got %q", got)
	}
}

func TestTheEndGoesByOpenCTIsPace(t *testing.T) {
	s := backfilling()
	s.Run.Remaining = 40 * 24 * 3600 // as slowly as the queue drains
	got, _ := remaining(s)
	more, _ := toCome(s)
	if want := span((115994 + more) / 92); got != want || got > time.Hour {
		t.Errorf("it ends in %s, want %s", got, want)
	}
}

func TestNoStageIsToBlameForOpenCTI(t *testing.T) {
	wants(t, buffering(), []string{"None of them limits it: the run waits for OpenCTI's workers: the queue is at CONNECTOR_QUEUE_THRESHOLD."}, "bottleneck")
	s := running()
	s.Run.WaitsFor = "OpenCTI's answers"
	wants(t, s, []string{"None of them limits it: the run waits for OpenCTI's answers."}, "bottleneck")
	wants(t, brokerAway(), []string{"publish bottleneck"})
}

func TestWhatGoesOnByItselfIsSaid(t *testing.T) {
	if got, want := ends(brokerAway()).Notes, []string{"It goes on by itself when RabbitMQ is well again."}; !slices.Equal(got, want) {
		t.Errorf("RabbitMQ is away: %q", got)
	}
	s := running()
	s.Way[0].Trouble, s.Ready = true, snapshot.Verdict{Reason: wrongSecret}
	if got, want := ends(s).Notes, []string{wrongSecret + "."}; !slices.Equal(got, want) {
		t.Errorf("refused credentials: %q", got)
	}
	s = running()
	s.Way[1].Trouble, s.Live = true, snapshot.Verdict{Reason: "the heartbeat has not run for 3m0s"}
	if got, want := ends(s).Notes, []string{"It goes on when the connector is started anew."}; !slices.Equal(got, want) {
		t.Errorf("a connector that is stuck: %q", got)
	}
}

func TestFailedRequestsAreToldInWords(t *testing.T) {
	s := running()
	for _, name := range []string{"rate_limited", "unauthorized", "client_error", "server_error", "unreadable", "timeout", "connection", "tls", "other"} {
		if cause(name) == name {
			t.Errorf("%s has no words", name)
		}
	}
	s.FailedRequests = []snapshot.Count{{Name: "rate_limited", Count: 3}, {Name: "client_error", Count: 9}}
	wants(t, s, []string{"Requests to ThreatMatch that failed", "asked to slow down (429) 3", "such as 403 and 404) 9"}, "that were repeated", "rate_limited")
}

func TestWordsThatPeopleAskAboutAreExplained(t *testing.T) {
	wants(t, running(), []string{"Skipped: copies of objects that earlier runs had delivered", "Each station counts in its own unit"})
}
