package endtoend

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// importMiddle lies in the middle of what is generated.
const importMiddle = "2026-01-31"

// A backfill that is ordered beside a schedule brings all that is older, also where the connector is killed in its middle, and the
// schedule's own progress is as if there had been none.
func TestABackfillBringsTheOlderWindowBesideTheSchedule(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 7, Profiles: 60, Alerts: 60, Indicators: 1500, TieGroup: 7})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	settings := []string{
		"CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT5S", "CONNECTOR_LOG_LEVEL=info",
		"THREATMATCH_IMPORT_FROM_DATE=" + importMiddle, "THREATMATCH_RATE_LIMIT=10", // slow enough for some commits on the way
	}
	first := w.start(settings...)
	first.awaits("the run has ended, complete")
	newer := w.take()

	ordered := w.startCommand([]string{"backfill", "--from", "1990-01-01", "--detach"}, settings...)
	ordered.wants(exitOK)
	eventually(t, "the backfill is under way", func() bool {
		text := w.platform.State()
		return strings.Contains(text, `"backfill"`) && strings.Contains(text, `"until":"`+importMiddle+`T00:00:00Z","pass"`)
	})
	first.signal(syscall.SIGKILL)
	first.wait()

	second := w.start(settings...)
	second.awaits("going on with the backfill of")
	second.awaits("the run begins: profiles") // it takes orders by then
	other := w.startCommand([]string{"backfill", "--from", "1980-01-01"}, settings...)
	other.wants(exitRunFailed)
	if !other.logs("another backfill is not done yet") {
		t.Errorf("a second one meanwhile: %s", other.output())
	}
	within := w.startCommand([]string{"backfill", "--from", "2000-01-01", "--detach"}, settings...)
	within.wants(exitOK)
	if !within.logs(" from 1990-01-01T00:00:00Z to " + importMiddle + "T00:00:00Z is under way and covers the one ordered") {
		t.Errorf("one for a window within it: %s", within.output())
	}
	again := w.startCommand([]string{"backfill", "--from", "1990-01-01", "--json"}, settings...)
	again.wants(exitOK)
	if strings.Count(again.output(), `"phase":"done"`) != 1 || !second.logs("the backfill is done") {
		t.Errorf("it ends with %s\n%s", again.output(), second.tail())
	}
	if second.logs("what OpenCTI could not import is sent again") {
		t.Errorf("a run with nothing to do: %s", second.output())
	}
	second.signal(syscall.SIGTERM)
	second.wants(exitOK)

	messages := append(newer, w.take()...)
	checkOrderInTheEnd(t, messages)
	checkHeld(t, messages, held(t, data, defaultMapping))
	state := parseState(t, w.platform.State())
	if c := state.Datasets["alerts"]; !c.Since.After(first.started) || c.Pass != nil {
		t.Errorf("the schedule goes on at %+v", c)
	}
	third := w.startCommand([]string{"backfill", "--from", importMiddle}, settings...)
	third.wants(exitRunFailed)
	if !third.logs("the schedule imports everything since " + importMiddle) {
		t.Errorf("what the schedule imports: %s", third.output())
	}
}

// Where no connector runs, the command does the backfill itself, and goes on with it when it is typed again.
func TestABackfillNeedsNoConnectorThatRuns(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 7, Profiles: 60, Alerts: 60, Indicators: 1500, TieGroup: 7})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	w.run(exitOK, "THREATMATCH_IMPORT_FROM_DATE="+importMiddle)
	messages := w.take()
	settings := []string{"THREATMATCH_IMPORT_FROM_DATE=" + importMiddle, "THREATMATCH_RATE_LIMIT=10", "CONNECTOR_LOG_LEVEL=info"}
	command := []string{"backfill", "--from", "1990-01-01"}
	first := w.startCommand(command, settings...)
	first.awaits("the run begins: backfill/profiles")
	eventually(t, "something has arrived", func() bool { messages = append(messages, w.take()...); return len(w.platform.Works()) > 1 })
	first.signal(syscall.SIGINT)
	first.wants(exitRunFailed)
	if !first.logs("connector-threatmatch: stopped by signal: interrupt; the same command goes on from where it got") {
		t.Errorf("stopped: %s", first.output())
	}
	second := w.startCommand(command, settings...)
	second.wants(exitOK)
	if !second.logs("backfill from 1990-01-01 to " + importMiddle + ": done") {
		t.Errorf("it ends with %s", second.output())
	}
	messages = append(messages, w.take()...)
	checkOrderInTheEnd(t, messages)
	checkHeld(t, messages, held(t, data, defaultMapping))
}

// A connector that runs with another folder would write the same state.
func TestABackfillIsRefusedBesideAConnectorThatRunsElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}})
	settings := []string{"CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT1H", "CONNECTOR_LOG_LEVEL=info", "THREATMATCH_IMPORT_FROM_DATE=" + importMiddle}
	w.start(settings...).awaits("the run has ended, complete")
	pings := len(w.platform.Pings())
	elsewhere := w.startCommand([]string{"backfill", "--from", "1990-01-01"}, append(settings, "CONNECTOR_STATE_DIR="+t.TempDir())...)
	elsewhere.wants(exitRunFailed)
	if !elsewhere.logs("run the command where it runs") || strings.Contains(w.platform.State(), `"backfill"`) {
		t.Errorf("it says %s, the state is %s", elsewhere.output(), w.platform.State())
	}
	if more := len(w.platform.Pings()) - pings; more > 1 {
		t.Errorf("%d pings meanwhile", more)
	}
}

// What a command that did a backfill itself has left behind can be cancelled without a connector, too.
func TestABackfillThatWaitsIsCancelledWithoutAConnector(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}})
	settings := []string{"THREATMATCH_IMPORT_FROM_DATE=" + importMiddle, "THREATMATCH_RATE_LIMIT=1", "CONNECTOR_LOG_LEVEL=info"}
	first := w.startCommand([]string{"backfill", "--from", "1990-01-01"}, settings...)
	first.awaits("the run begins: backfill/profiles")
	first.signal(syscall.SIGINT)
	first.wants(exitRunFailed)
	if !strings.Contains(w.platform.State(), `"backfill":`) {
		t.Fatalf("the state is %s", w.platform.State())
	}
	for _, shown := range []struct {
		args, change []string
		says         string
	}{
		{[]string{"--status"}, []string{"CONNECTOR_RUN_AND_TERMINATE=false"}, " to " + importMiddle + ": stopped, alerts not listed yet, iocs not listed yet, profiles not listed yet, waits for the connector to start"},
		{[]string{"--status"}, []string{"CONNECTOR_RUN_AND_TERMINATE=true"}, "waits for the same command to be typed again"},
		{[]string{"--status"}, []string{"CONNECTOR_STATE_DIR=" + t.TempDir()}, "ask where it runs"},
		{[]string{"--status", "--json"}, nil, `{"phase":"stopped","from":"1990-01-01T00:00:00Z","to":"` + importMiddle + `T00:00:00Z","left":["alerts","iocs","profiles"]`},
	} {
		told := w.startCommand(append([]string{"backfill"}, shown.args...), slices.Concat(settings, shown.change)...)
		told.wants(exitOK)
		if !told.logs(shown.says) || !told.logs("no connector takes orders with the folder") {
			t.Errorf("%q with %q says %s", shown.args, shown.change, told.output())
		}
	}
	cancelled := w.startCommand([]string{"backfill", "--cancel"}, settings...)
	cancelled.wants(exitOK)
	if !cancelled.logs("is cancelled; what it has brought stays") || cancelled.logs("going on with") || strings.Contains(w.platform.State(), `"backfill":`) {
		t.Errorf("it says %s, the state is %s", cancelled.output(), w.platform.State())
	}
	none := w.startCommand([]string{"backfill", "--status"}, settings...)
	none.wants(exitOK)
	if !none.logs("there is no backfill under way") {
		t.Errorf("it says %s", none.output())
	}
	wrong := w.startCommand([]string{"backfill", "--from", "1990-01-01", "--dataset", "iocs,nonsense"}, settings...)
	wrong.wants(exitUsage)
	if !wrong.logs("nonsense") {
		t.Errorf("it says %s", wrong.output())
	}
}

// Whoever watches is told once that a backfill was cancelled from another shell, by a connector that runs or by the command itself.
func TestWhoWatchesIsToldOnceThatABackfillIsCancelled(t *testing.T) {
	for _, beside := range []bool{true, false} {
		t.Run(map[bool]string{true: "a connector", false: "the command"}[beside], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}})
			settings := []string{"CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT1H", "CONNECTOR_LOG_LEVEL=info", "THREATMATCH_IMPORT_FROM_DATE=" + importMiddle}
			imports := w.start(settings...)
			imports.awaits("the next run begins")
			w.api.Fault(threatmatchtest.Rule{Path: "/api/stix/*", Do: threatmatchtest.Slow(time.Minute)})
			if !beside {
				imports.signal(syscall.SIGTERM)
				imports.wants(exitOK)
			}
			watched := w.startCommand([]string{"backfill", "--from", "1990-01-01"}, settings...)
			if !beside {
				imports = watched
			}
			imports.awaits("the run begins: backfill/profiles")
			cancelled := w.startCommand([]string{"backfill", "--cancel"}, settings...)
			cancelled.wants(exitOK)
			watched.wants(exitRunFailed)
			if !watched.logs("connector-threatmatch: the backfill was cancelled before it was done; the same command orders it again") {
				t.Errorf("it ends with %s", watched.output())
			}
			told := 0
			for line := range strings.Lines(watched.output()) {
				if strings.HasPrefix(line, "the backfill from 1990-01-01 to "+importMiddle+" is cancelled") {
					told++
				}
			}
			if told != 1 || watched.logs("there is no backfill under way") {
				t.Errorf("it is told %d times: %s", told, watched.output())
			}
			imports.awaits("the run has ended, cancelled")
			for line := range strings.Lines(imports.output()) {
				if strings.Contains(line, "the run has ended, cancelled") && !strings.Contains(line, `"complete":false`) {
					t.Errorf("cancelled is complete: %s", line)
				}
			}
		})
	}
}

func TestABackfillOfWhichOneItemFailsIsDoneAndSaysSo(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 7, Profiles: 60, Alerts: 60, Indicators: 1500, TieGroup: 7})
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	settings := []string{
		"CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT1H", "CONNECTOR_LOG_LEVEL=info",
		"THREATMATCH_IMPORT_FROM_DATE=" + importMiddle,
	}
	first := w.start(settings...)
	first.awaits("the run has ended, complete")
	w.take()
	w.api.Fault(threatmatchtest.Rule{Path: "/api/stix/alerts/*", From: 3, To: 3, Do: threatmatchtest.Status(http.StatusNotFound)})
	ordered := w.startCommand([]string{"backfill", "--from", "1990-01-01"}, settings...)
	ordered.wants(exitRunFailed)
	if !ordered.logs("connector-threatmatch: the backfill is done, but for what could not be read") {
		t.Errorf("it ends with %s", ordered.output())
	}
	first.awaits("the next run begins")
	if !first.logs("the backfill is done") || first.logs("the backfill cannot go on for now") {
		t.Error("it is done, and said to go on by itself; that it is done is never said")
	}
	first.signal(syscall.SIGTERM)
	first.wants(exitOK)
}

// A connector that runs once takes no orders, and keeps its folder until it has ended.
func TestBesideAConnectorThatRunsOnceABackfillSaysWhatToWaitFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}})
	once := w.start("THREATMATCH_IMPORT_FROM_DATE="+importMiddle, "THREATMATCH_RATE_LIMIT=1", "CONNECTOR_LOG_LEVEL=info")
	once.awaits("the run begins")
	for says, args := range map[string][]string{
		"one that ends or runs once only has to end first": {"--from", "1990-01-01"},
		"no connector runs here with the folder":           {"--from", "1990-01-01", "--detach"},
	} {
		told := w.startCommand(append([]string{"backfill"}, args...))
		told.wants(exitRunFailed)
		if !told.logs(says) {
			t.Errorf("%q says %s", args, told.output())
		}
	}
	shown := w.startCommand([]string{"backfill", "--status"})
	shown.wants(exitOK)
	if !shown.logs("there is no backfill under way") {
		t.Errorf("--status says %s", shown.output())
	}
	once.signal(syscall.SIGTERM)
	once.wait()
}

// A scheduled run that is due soon waits while a backfill has its ten minutes, and what an earlier process did of it is not counted.
func TestWhileABackfillHasItsTurnTheLogSaysWhatWaits(t *testing.T) {
	t.Parallel()
	data, dir := plainIndicators(t, 600), t.TempDir() // of 1999, and the time is 2000
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, dir, threatmatchtest.Config{Data: data, PageSize: 10, Latency: 20 * time.Second}, rabbitmqtest.Config{}, openctitest.Config{},
			"CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT1M", "THREATMATCH_IMPORT_FROM_DATE=2000-01-01",
			"THREATMATCH_CONCURRENCY=1") // so that it takes longer than its turn
		core, logs := observer.New(zap.InfoLevel)
		b.log = zap.New(core)
		says := func(text string) bool {
			return slices.ContainsFunc(logs.All(), func(line observer.LoggedEntry) bool { return strings.Contains(line.Message, text) })
		}

		ordering, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		order := orders.Backfill{From: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), Datasets: []string{"iocs"}}
		last, err := connector.Backfill(ordering, b.cfg, b.log, b.options(), order, func(p orders.Progress) {
			if p.Earlier {
				t.Errorf("an earlier process has begun it: %s", p)
			}
		})
		if err == nil || last.Sent == 0 {
			t.Fatalf("it was to be interrupted in its middle: %s, %v", last, err)
		}
		logs.TakeAll()
		ctx, stop := context.WithCancel(t.Context())
		ended := b.begin(ctx)
		time.Sleep(5 * time.Minute)
		if !says("the backfill begins; the scheduled run, due at 2000-01-01T00:0") || !says(" at most") || says("the backfill makes way") {
			t.Errorf("when it begins: %v", logs.All())
		}
		time.Sleep(10 * time.Minute)
		if !says("the backfill makes way for the scheduled run; left of it: iocs from 1999-01-01T00:00:00Z to 2000-01-01T00:00:00Z") {
			t.Errorf("when its turn is over: %v", logs.All())
		}
		time.Sleep(15 * time.Minute)
		if !says("the backfill is done") || !says(" since the connector started") {
			t.Errorf("when it is done: %v", logs.All())
		}
		stop()
		must(t, <-ended)
	})
}
