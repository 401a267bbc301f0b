package status

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/followup"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

var noon = time.Date(2025, 4, 17, 12, 0, 0, 0, time.UTC)

// shot takes the snapshot of a connector that has joined, at noon, prepared as a test wants it.
func shot(t *testing.T, prepare ...func(*Status)) snapshot.Snapshot {
	t.Helper()
	s := New(load(t, nil), everyDataset)
	s.now = func() time.Time { return noon }
	s.Joined(nil, nil, nil)
	for _, f := range prepare {
		f(s)
	}
	return s.Snapshot()
}

// importing is a run that waits for something, and of which fetching and sending takes so many more seconds.
func importing(t *testing.T, waits Limit, remaining float64) func(*Status) {
	return func(s *Status) {
		publisher := rabbitmq.New(rabbitmq.Config{Log: zap.NewNop()})
		t.Cleanup(func() { _ = publisher.Close(t.Context()) }) // it has nothing to settle
		s.RunStarted(emit.New(emit.Config{Log: zap.NewNop()}), publisher, 1<<20)
		s.Tells(func() (snapshot.Run, Limit) {
			return snapshot.Run{Purpose: snapshot.Import, Sent: 1234, WaitsFor: waits.Says, Remaining: remaining, Datasets: []snapshot.Dataset{{Name: "iocs", Share: 0.4}}}, waits
		})
	}
}

// imported is OpenCTI with so many of a thousand messages imported, one a second.
func imported(done int64) func(*Status) {
	return func(s *Status) {
		s.Shares(func() followup.Imports {
			return followup.Imports{Expected: 1000, Done: done, AsOf: noon, Lately: 1, Rate: followup.Rate{PerSecond: 1, At: noon}, WaitingBytes: 4e6}
		})
	}
}

// unknown is an OpenCTI that could not be asked for a minute.
func unknown(s *Status) {
	s.Shares(func() followup.Imports {
		return followup.Imports{Open: 1, Expected: 1000, Done: 10, AsOf: noon.Add(-time.Minute), Rate: followup.Rate{PerSecond: 1, At: noon}, Err: errors.New("away")}
	})
}

// unanswered has two pings fail.
func unanswered(s *Status) {
	s.Pinged(errors.New("away"))
	s.Pinged(errors.New("away"))
}

func station(t *testing.T, s snapshot.Snapshot, name string) snapshot.Station {
	t.Helper()
	for _, one := range s.Way {
		if one.Name == name {
			return one
		}
	}
	t.Fatalf("%s is not on the way: %+v", name, s.Way)
	return snapshot.Station{}
}

func TestTheSlowestOfTheFourStationsIsMarked(t *testing.T) {
	rate := Limit{Station: snapshot.ThreatMatch, Stage: snapshot.Fetch, Says: "THREATMATCH_RATE_LIMIT"}
	for _, tt := range []struct {
		name    string
		prepare []func(*Status)
		slowest string
		stage   string
	}{
		{name: "at rest"},
		{name: "at rest, and all is imported", prepare: []func(*Status){imported(1000)}},
		{name: "at rest, while OpenCTI imports", prepare: []func(*Status){imported(10)}, slowest: snapshot.OpenCTI},
		{name: "in a run", prepare: []func(*Status){importing(t, rate, 60)}, slowest: snapshot.ThreatMatch, stage: snapshot.Fetch},
		{name: "in a run that takes longer than OpenCTI", prepare: []func(*Status){importing(t, rate, 3600), imported(10)}, slowest: snapshot.ThreatMatch, stage: snapshot.Fetch},
		{name: "in a run that takes less than OpenCTI", prepare: []func(*Status){importing(t, rate, 60), imported(10)}, slowest: snapshot.OpenCTI, stage: snapshot.Fetch},
		{name: "of the connector itself", prepare: []func(*Status){importing(t, Limit{Station: snapshot.Connector, Stage: snapshot.Transform}, 60)}, slowest: snapshot.Connector, stage: snapshot.Transform},
	} {
		got := shot(t, tt.prepare...)
		if len(got.Way) != 4 {
			t.Fatalf("%s: %+v", tt.name, got.Way)
		}
		for _, one := range got.Way {
			if one.Slowest != (one.Name == tt.slowest) {
				t.Errorf("%s: %s is marked: %t", tt.name, one.Name, one.Slowest)
			}
		}
		for _, stage := range got.Stages {
			if stage.Bottleneck != (stage.Name == tt.stage) {
				t.Errorf("%s: the stage %s is marked: %t", tt.name, stage.Name, stage.Bottleneck)
			}
		}
	}
}

func TestAnOpenCTIThatFallsBehindIsSlowestThoughTheRunTakesLonger(t *testing.T) {
	behind := snapshot.Snapshot{Run: &snapshot.Run{Remaining: 300}, Imports: snapshot.Imports{Expected: 30_000, Done: 6000, Lately: 200, Remaining: 120}}
	limit := Limit{Station: snapshot.ThreatMatch}
	for sent, want := range map[float64]string{933: snapshot.OpenCTI, 205: snapshot.ThreatMatch, 0: snapshot.ThreatMatch} {
		if got := slowest(behind, sent, limit); got != want {
			t.Errorf("of %v messages a second that are sent, and 200 that are imported: %s", sent, got)
		}
	}
}

func TestTheSnapshotSaysInASentenceHowTheConnectorIs(t *testing.T) {
	atNight := func(s *Status) { s.Tell(func(i *opencti.Info) { i.NextRun = noon.Add(12 * time.Hour) }) }
	for want, prepare := range map[string][]func(*Status){
		"At rest until 2025-04-18 00:00 UTC.":                                                                      {atNight},
		"At rest. OpenCTI has imported 100 of 1,000 messages, 1/s, about 15m0s left.":                              {imported(100)},
		"Importing, about 1m0s left; it waits for ThreatMatch's answers.":                                          {importing(t, Limit{Says: "ThreatMatch's answers"}, 60)},
		"The last run failed. At rest until 2025-04-18 00:00 UTC.":                                                 {atNight, func(s *Status) { s.Remembers([]snapshot.Run{{Failed: true}}) }},
		"ThreatMatch refuses the credentials: check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET. At rest.": {func(s *Status) { s.Credentials(ThreatMatch, true) }},
		"Stopping.": {(*Status).Ending},
		"Stopping: the run settles what is under way.":                           {importing(t, Limit{}, 60), (*Status).Stopping},
		"The next run is due.":                                                   {func(s *Status) { s.Tell(func(i *opencti.Info) { i.NextRun = noon.Add(-time.Minute) }) }},
		"At rest. As of 11:59 UTC, OpenCTI had imported 10 of 1,000 messages.":   {unknown},
		"OpenCTI does not answer; check that it runs, and OPENCTI_URL. At rest.": {unanswered},
	} {
		if got := shot(t, prepare...).Says; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := New(load(t, nil), everyDataset).Snapshot(); !strings.HasPrefix(got.Says, "Starting") || got.Activity != "starting" || got.Ready.OK || !got.Live.OK {
		t.Errorf("before it has joined: %+v", got)
	}
}

func TestTroubleIsSaidWhereItIs(t *testing.T) {
	silent := Limit{Station: snapshot.ThreatMatch, Stage: snapshot.Fetch, Says: "ThreatMatch, which does not answer", Trouble: true}
	for name, tt := range map[string]struct {
		prepare func(*Status)
		at      string
		says    string
	}{
		"a secret that is refused":     {func(s *Status) { s.Credentials(ThreatMatch, true) }, snapshot.ThreatMatch, "refuses the credentials"},
		"a ThreatMatch that is silent": {importing(t, silent, 0), snapshot.ThreatMatch, "does not answer"},
		"a token that is refused":      {func(s *Status) { s.Credentials(OpenCTI, true) }, snapshot.OpenCTI, "refuses the token"},
		"an OpenCTI that does not tell": {func(s *Status) {
			s.Shares(func() followup.Imports { return followup.Imports{Expected: 5, Err: errors.New("away")} })
		}, snapshot.OpenCTI, "does not say"},
		"pings that fail":        {unanswered, snapshot.OpenCTI, "does not answer: check that it runs, and OPENCTI_URL"},
		"a heartbeat that hangs": {func(s *Status) { s.now = func() time.Time { return noon.Add(time.Hour) } }, snapshot.Connector, "heartbeat"},
	} {
		got := shot(t, tt.prepare)
		for _, one := range got.Way {
			if one.Trouble != (one.Name == tt.at) {
				t.Errorf("%s: trouble of %s: %t", name, one.Name, one.Trouble)
			}
		}
		if one := station(t, got, tt.at); !strings.Contains(one.Says, tt.says) {
			t.Errorf("%s: %q", name, one.Says)
		}
	}
}

func TestTheQueueIsShownAlsoBetweenRuns(t *testing.T) {
	got := shot(t, imported(10))
	if got.Queue.Bytes != 4e6 || got.Queue.Threshold != 500e6 || !strings.Contains(station(t, got, snapshot.QueueName).Says, "4.0 MB of 500.0 MB") {
		t.Errorf("%+v, %s", got.Queue, station(t, got, snapshot.QueueName).Says)
	}
}

func TestMetricsAndSnapshotSayTheSameOfTheQueue(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	s.Joined(nil, nil, nil)
	s.Tell(func(i *opencti.Info) { i.QueueMessagesSize = 77 }) // of the end of a run
	imported(10)(s)
	if got, metric := s.Snapshot().Queue.Bytes, series(t, answer(t, s, "/metrics").Body.String())["queue_bytes"]; got != 4e6 || metric != 4e6 {
		t.Errorf("%d and %v bytes", got, metric)
	}
}

func TestATroubleThatIsOverIsShownAsSuch(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	log := s.Remember(zap.NewNop())
	log.Error("RabbitMQ does not answer; the connector waits, and goes on by itself when it does")
	log.Error("OpenCTI does not answer; the connector waits, and goes on by itself when it does")
	log.Error("RabbitMQ" + remote.AnswersAgain)
	var got []string
	for _, p := range s.Snapshot().Problems {
		got = append(got, fmt.Sprintf("%.8s error %t over %t", p.Says, p.Error, p.Over))
	}
	want := []string{"RabbitMQ error false over true", "OpenCTI  error true over false", "RabbitMQ error true over true"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestWarningsDoNotPushOutErrors(t *testing.T) {
	s := New(load(t, nil), everyDataset)
	log := s.Remember(zap.NewNop())
	log.Error("it is bad")
	for range 2 * mostProblems {
		log.Warn("left out")
	}
	if got := s.Snapshot().Problems; len(got) != mostProblems || got[len(got)-1].Says != "it is bad" {
		t.Errorf("%d problems, the oldest is %+v", len(got), got[len(got)-1])
	}
}

func TestTheLastProblemsAreKeptWithTheirItemsAndWithoutSecrets(t *testing.T) {
	core, written := observer.New(zapcore.ErrorLevel)
	s := New(load(t, nil), everyDataset)
	log := s.Remember(zap.New(core)).With(zap.String("dataset", "alerts"))
	log.Info("not a problem")
	for n := range mostProblems + 5 {
		log.Warn("a part of a dataset was not imported", zap.Int("n", n), zap.String("item", "17"), zap.Error(errors.New("refused "+configtest.ClientSecret)))
	}
	log.Error("it is bad "+strings.Repeat("x", 10_000), zap.String("reason", "worse"))
	got := s.Snapshot().Problems
	if len(got) != mostProblems || written.Len() != 1 {
		t.Fatalf("%d problems are kept, %d lines were written at error", len(got), written.Len())
	}
	if first := got[0]; !first.Error || first.Reason != "worse" || len(first.Says) > mostOfText+20 {
		t.Errorf("the last is %+v", first)
	}
	if second := got[1]; second.Error || second.Dataset != "alerts" || second.Item != "17" || !strings.HasPrefix(second.Reason, "refused ") || strings.Contains(second.Reason, configtest.ClientSecret) {
		t.Errorf("the one before is %+v", second)
	}
}
