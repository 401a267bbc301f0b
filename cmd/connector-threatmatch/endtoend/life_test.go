package endtoend

import (
	"encoding/pem"
	"fmt"
	"iter"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// someData is intelligence that takes the program a moment.
func someData() threatmatchtest.Data {
	return threatmatchtest.Generate(threatmatchtest.Shape{Seed: 7, Profiles: 30, Alerts: 30, Indicators: 600, TieGroup: 7})
}

// listedAgain is data whose items are all listed, whatever was asked for: items that have changed look like that.
type listedAgain struct{ threatmatchtest.Data }

func (d listedAgain) IDs(name string, _ time.Time) iter.Seq[int64] {
	return d.Data.IDs(name, time.Time{})
}

// imported runs the program once over all data and takes what it sent.
func (w *world) imported(data threatmatchtest.Data) {
	w.t.Helper()
	w.run(exitOK)
	messages := w.take()
	checkOrder(w.t, messages)
	checkOnce(w.t, messages)
	w.checkBooks(messages, false)
	checkHeld(w.t, messages, held(w.t, data, defaultMapping))
}

func TestARunWithoutAnythingNewOpensNoWorkAndSendsNothing(t *testing.T) {
	t.Parallel()
	data := someData()
	for _, tt := range []struct {
		name   string
		api    threatmatchtest.Data
		before func(*world)
	}{
		{"nothing is listed", data, func(*world) {}},
		{"nothing is listed and the index is lost", data, (*world).forgetIndex},
		{"all items are listed again", listedAgain{data}, func(*world) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: tt.api}})
			w.imported(data)
			first := parseState(t, w.platform.State())
			tt.before(w)
			for range 2 {
				w.run(exitOK)
			}
			if messages, works := w.take(), w.platform.Works(); len(messages) != 0 || len(works) != 1 {
				t.Errorf("later runs sent %d messages in %d works", len(messages), len(works)-1)
			}
			if last := parseState(t, w.platform.State()); last.LastRun.Before(first.LastRun) || last.LastRun.IsZero() {
				t.Errorf("last_run went from %v to %v", first.LastRun, last.LastRun)
			}
		})
	}
}

func TestAScheduledConnectorRunsAgainAndSendsNothingTwice(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: listedAgain{data}}})
	p := w.start("CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT1S")
	eventually(t, "three runs have ended", func() bool { return strings.Count(p.output(), "the run has ended") >= 3 })
	p.signal(syscall.SIGTERM)
	p.wants(exitOK)
	messages := w.take()
	checkOnce(t, messages)
	checkHeld(t, messages, held(t, data, defaultMapping))
	w.checkBooks(messages, false)
	if works := w.platform.Works(); len(works) != 1 {
		t.Errorf("%d works were opened", len(works))
	}
	runs := p.runs()
	for i := 1; i < len(runs); i++ {
		if runs[i].Attributes["complete"] != true && i < 3 {
			t.Errorf("run %d: %v", i, runs[i].Attributes)
		}
	}
	pings := w.platform.Pings()
	if last := pings[len(pings)-1].Info; last.LastRun == "" {
		t.Errorf("the last ping says %+v", last)
	}
	if !slices.ContainsFunc(pings, func(p openctitest.Ping) bool { return p.Info.NextRun != "" }) {
		t.Error("no ping says when the next run is")
	}
}

func TestTheStateOfTheUpstreamConnectorIsTakenOver(t *testing.T) {
	t.Parallel()
	data := someData()
	since := time.Date(2026, 1, 20, 10, 30, 40, 0, time.UTC)
	for name, state := range map[string]string{
		"text":            `{"last_run": "2026-01-20T10:30:40+00:00"}`,
		"seconds":         fmt.Sprintf(`{"last_run": %d}`, since.Unix()),
		"with more in it": `{"last_run": "2026-01-20T12:30:40+02:00", "theirs": {"kept": true}}`,
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now().Add(-time.Minute) // the API's clock counts, and some seconds less
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
			w.platform.SetState(state)
			w.run(exitOK, "THREATMATCH_OVERLAP=PT0S")
			lists := 0
			for _, call := range w.api.Calls() {
				if strings.HasSuffix(call.Path, "/all") {
					if lists++; !strings.Contains(call.Query, "2026-01-20+10%3A30") && !strings.Contains(call.Query, "2026-01-20%2010%3A30") {
						t.Errorf("a list was asked for with %s", call.Query)
					}
				}
			}
			if lists != 2 {
				t.Errorf("%d lists were asked for", lists)
			}
			if s := parseState(t, w.platform.State()); s.LastRun.Before(began) {
				t.Errorf("the state is %s", w.platform.State())
			}
			if strings.Contains(state, "theirs") && !strings.Contains(w.platform.State(), `"theirs":`) {
				t.Errorf("somebody else's member is gone: %s", w.platform.State())
			}
			messages := w.take()
			checkOrder(t, messages)
			checkOnce(t, messages)
			if len(messages) == 0 || len(messages) >= len(held(t, data, defaultMapping)) {
				t.Errorf("%d messages for a part of the data", len(messages))
			}
		})
	}
}

func TestAStateThatCannotBeReadIsNeverAFirstRun(t *testing.T) {
	t.Parallel()
	for _, state := range []string{`{"last_run": "yesterday"}`, `{"version": 99, "last_run": "2026-01-20T10:30:40+00:00"}`, `[`, `{"other": 1}`} {
		w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}})
		w.platform.SetState(state)
		p := w.run(exitRunFailed)
		if !p.logs("reset the connector in OpenCTI") {
			t.Errorf("%s: nobody says what to do\n%s", state, p.tail())
		}
		if w.platform.State() != state || len(w.take()) > 0 || w.api.Count("/api/*") > 0 {
			t.Errorf("%s became %s", state, w.platform.State())
		}
	}
}

func TestReimportSendsEverythingAgainOnceAtEachStart(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	w.imported(data)
	p := w.start("CONNECTOR_REIMPORT=true", "CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT1S")
	eventually(t, "two runs have ended", func() bool { return strings.Count(p.output(), "the run has ended") >= 2 })
	p.signal(syscall.SIGINT)
	p.wants(exitOK)
	messages := w.take()
	checkOrder(t, messages)
	checkOnce(t, messages)
	checkHeld(t, messages, held(t, data, defaultMapping))
	w.checkBooks(messages, false)
	if works := w.platform.Works(); len(works) != 2 {
		t.Errorf("%d works for a run and a reimport", len(works))
	}
}

func TestABadConfigurationEndsTheProgramBeforeAnyConnection(t *testing.T) {
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}})
	bad := map[string]string{
		"CONNECTOR_LOG_LEVEL": "loud", "CONNECTOR_RUN_AND_TERMINATE": "perhaps", "OPENCTI_URL": "opencti:8080",
		"CONNECTOR_DURATION_PERIOD": "1 day", "CONNECTOR_TYPE": "STREAM",
		"THREATMATCH_RATE_LIMIT": "-1", "THREATMATCH_IMPORT_FROM_DATE": "P99999999Y", "THREATMATCH_TLP_LEVEL": "purple",
		"THREATMATCH_CONCURRENCY": "none", "CONNECTOR_QUEUE_THRESHOLD": "-5", "THREATMATCH_IMPORT_IOCS": "2",
		"THREATMATCH_DESCRIPTION_FORMAT": "pdf", "CONNECTOR_MAX_MESSAGE_BYTES": "huge", "MQ_PORT": "70000",
	}
	var changes []string
	for name, value := range bad {
		changes = append(changes, name+"="+value)
	}
	p := w.run(exitUsage, changes...)
	for name, value := range bad {
		if !p.logs(name) || !p.logs(value) {
			t.Errorf("%s=%s is not named", name, value)
		}
	}
	p = w.run(exitUsage, "OPENCTI_TOKEN=ChangeMe", "THREATMATCH_CLIENT_SECRET=", "CONNECTOR_DURATION_PERIOD=P")
	for _, name := range []string{"OPENCTI_TOKEN", "THREATMATCH_CLIENT_SECRET", "CONNECTOR_DURATION_PERIOD"} {
		if !p.logs(name) {
			t.Errorf("%s is not named: %s", name, p.tail())
		}
	}
	if n := len(w.api.Calls()) + w.platform.Calls("about") + w.platform.Calls("registerConnector"); n > 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestAPlatformWithAPrivateAuthority(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	secured := httptest.NewUnstartedServer(w.platform)
	secured.Config.ErrorLog = silentLog()
	secured.StartTLS()
	t.Cleanup(secured.Close)
	authority := filepath.Join(t.TempDir(), "authority.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: secured.Certificate().Raw}
	if err := os.WriteFile(authority, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env["OPENCTI_URL"] = secured.URL

	p := w.run(exitRunFailed)
	if !p.logs("OPENCTI_SSL_VERIFY") {
		t.Errorf("the refusal does not say what to do\n%s", p.tail())
	}
	if n := w.platform.Calls("about"); n > 0 {
		t.Errorf("the token went to a stranger %d times", n)
	}
	w.env["OPENCTI_SSL_VERIFY"] = authority
	w.imported(data)
	w.run(exitOK, "OPENCTI_SSL_VERIFY=false")
	w.run(exitOK, "OPENCTI_SSL_VERIFY=", "HTTPS_CA_CERTIFICATES="+authority)
}

func TestALatePlatformIsWaitedFor(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, latePlatform: true})
	p := w.start()
	p.awaits("cannot reach OpenCTI yet")
	w.platform.Fault(openctitest.Rule{To: 2, Do: openctitest.Status(502, "<html>starting</html>")})
	w.platformSite.open()
	p.wants(exitOK)
	messages := w.take()
	checkHeld(t, messages, held(t, data, defaultMapping))
	w.checkBooks(messages, false)
}

func TestAPlatformThatNeverComesEndsWithTheSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}, latePlatform: true})
	p := w.start("CONNECTOR_RUN_AND_TERMINATE=false")
	p.awaits("cannot reach OpenCTI yet")
	p.signal(syscall.SIGTERM)
	p.wants(exitOK)
}

func TestAfterARunWithoutThreatMatchTheNextBringsEverything(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}, lateAPI: true})
	p := w.start("CONNECTOR_RUN_AND_TERMINATE=false", "CONNECTOR_DURATION_PERIOD=PT1S")
	p.awaits("the run has ended")
	if runs := p.runs(); runs[0].Attributes["complete"] != false {
		t.Errorf("a run without an API ended with %v", runs[0].Attributes)
	}
	if s := parseState(t, w.platform.State()); !s.LastRun.IsZero() || len(w.platform.Works()) > 0 {
		t.Errorf("after a run without an API: %s, %d works", w.platform.State(), len(w.platform.Works()))
	}
	w.apiSite.open()
	eventually(t, "last_run is committed", func() bool { return !parseState(t, w.platform.State()).LastRun.IsZero() })
	p.signal(syscall.SIGTERM)
	p.wants(exitOK)
	messages := w.take()
	checkOnce(t, messages)
	checkHeld(t, messages, held(t, data, defaultMapping))
	w.checkBooks(messages, false)
}
