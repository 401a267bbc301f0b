package endtoend

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// checkFailedRun wants a work in error, closed once, and no last_run.
func (w *world) checkFailedRun(messages []delivery) {
	w.t.Helper()
	w.checkBooks(messages, true)
	if s := parseState(w.t, w.platform.State()); !s.LastRun.IsZero() {
		w.t.Errorf("last_run stands after a failed run: %s", w.platform.State())
	}
}

// checkWhole wants all messages together to bring all data, in order, nothing twice, and last_run to say so. An object
// that went without a reference comes again once that can be kept.
func (w *world) checkWhole(data threatmatchtest.Data) {
	w.t.Helper()
	all := w.everTaken()
	checkOrder(w.t, all)
	sent := make(map[string]bool)
	for _, m := range all {
		if sent[string(m.Object)] {
			w.t.Errorf("%s was sent twice as it is", m.ID)
		}
		sent[string(m.Object)] = true
	}
	checkHeld(w.t, all, held(w.t, data, defaultMapping))
	s := parseState(w.t, w.platform.State())
	if s.LastRun.IsZero() {
		w.t.Errorf("no last_run after everything: %s", w.platform.State())
	}
	for name, cursor := range s.Datasets {
		if cursor.Pass != nil || len(cursor.Failed) > 0 {
			w.t.Errorf("%s is not at its end: %s", name, w.platform.State())
		}
	}
}

func TestADatasetThatIsRefusedCostsItselfOnly(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]threatmatchtest.Rule{
		"403 on a list":       {Path: "/api/alerts/all", Do: threatmatchtest.Status(403)},
		"500 on a list":       {Path: "/api/profiles/all", Do: threatmatchtest.Status(500)},
		"an error in a 200":   {Path: "/api/alerts/all", Do: threatmatchtest.ErrorBody()},
		"HTML in a 200":       {Path: "/api/profiles/all", Do: threatmatchtest.HTML()},
		"403 on a page":       {Path: indicatorsPath, From: 4, Do: threatmatchtest.Status(403)},
		"error body, a page":  {Path: indicatorsPath, From: 3, Do: threatmatchtest.ErrorBody()},
		"403 on all items":    {Path: "/api/stix/alerts/*", Do: threatmatchtest.Status(403)},
		"no group":            {Path: "/api/taxii/groups", Do: threatmatchtest.Body(`[{"id":"1","name":"Other"}]`)},
		"null in a list":      {Path: "/api/alerts/all", Do: threatmatchtest.Body("null")},
		"an empty answer":     {Path: "/api/alerts/all", Do: threatmatchtest.Body("")},
		"truncated page":      {Path: indicatorsPath, From: 2, Do: threatmatchtest.Truncated(2000)},
		"the same page again": {Path: indicatorsPath, From: 2, Do: threatmatchtest.Repeat()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := someData()
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
			if name == "the same page again" {
				w.env["THREATMATCH_CONCURRENCY"] = "1" // else it may be the last page, and then the API says that all before it is nothing
			}
			w.api.Fault(rule)
			w.run(exitRunFailed)
			first := w.take()
			if len(first) == 0 {
				t.Fatal("the others were not delivered")
			}
			checkOrder(t, first)
			w.checkFailedRun(first)
			calls := len(w.api.Calls())
			w.api.ClearFaults()
			w.run(exitOK)
			w.take()
			w.checkWhole(data)
			done, again := fetched(w.api.Calls()[:calls]), fetched(w.api.Calls()[calls:])
			repeated := 0
			for call := range done {
				if again[call] > 0 && strings.HasPrefix(call, "/api/stix/") {
					repeated++
				}
			}
			if repeated > 0 {
				t.Errorf("%d of %d items were fetched again", repeated, len(done))
			}
		})
	}
}

func TestAnItemThatKeepsFailingIsRememberedAndTriedFirst(t *testing.T) {
	t.Parallel()
	data := someData()
	ids := slices.Sorted(data.IDs(fetch.ProfilesDataset, time.Time{}))
	for name, fault := range map[string]threatmatchtest.Fault{
		"500": threatmatchtest.Status(500), "404": threatmatchtest.Status(404),
		"an error in a 200": threatmatchtest.ErrorBody(), "no objects": threatmatchtest.Body(`{"objects": null}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
			bad := "/api/stix/profiles/" + numberText(ids[len(ids)/2])
			w.api.Fault(threatmatchtest.Rule{Path: bad, Do: fault})
			w.run(exitRunFailed)
			first := w.take()
			checkOrder(t, first)
			w.checkFailedRun(first)
			failed := parseState(t, w.platform.State()).Datasets[fetch.ProfilesDataset].Failed
			if !slices.Equal(failed, []string{numberText(ids[len(ids)/2])}) {
				t.Errorf("the state names as failed: %v", failed)
			}
			if !strings.Contains(w.lastWork().Message, "failed") {
				t.Errorf("the work says %q", w.lastWork().Message)
			}
			calls := len(w.api.Calls())
			w.api.ClearFaults()
			w.run(exitOK)
			for _, c := range w.api.Calls()[calls:] {
				if strings.HasPrefix(c.Path, "/api/stix/profiles/") {
					if c.Path != bad {
						t.Errorf("%s was fetched before what had failed", c.Path)
					}
					break
				}
			}
			w.take()
			w.checkWhole(data)
		})
	}
}

// aSecondEachTime is a server's clock that is a second later with each call, however long that takes.
func aSecondEachTime() func() time.Time {
	var calls atomic.Int64
	start := time.Now()
	return func() time.Time { return start.Add(time.Duration(calls.Add(1)) * time.Second) }
}

// firstAttempts gives the first attempt of each call a fault by the call's number, counted from 1, nil for none. Repeated
// attempts meet none: whichever comes first, no call is tried in vain until it is given up.
func firstAttempts(w *world, fault func(n int) threatmatchtest.Fault) {
	var mu sync.Mutex
	calls := map[string]bool{}
	w.api.Fault(threatmatchtest.Rule{Path: "/api/*", Do: func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		mu.Lock()
		var do threatmatchtest.Fault
		if !calls[r.URL.String()] {
			calls[r.URL.String()] = true
			do = fault(len(calls))
		}
		mu.Unlock()
		if do == nil {
			next.ServeHTTP(rw, r)
			return
		}
		do(rw, r, next)
	}})
}

// every gives a fault to one of so many calls.
func every(n int, do threatmatchtest.Fault) func(int) threatmatchtest.Fault {
	return func(call int) threatmatchtest.Fault {
		if call%n != 2 {
			return nil
		}
		return do
	}
}

func TestShortTroublesOfTheAPIAreNotNoticed(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]threatmatchtest.Config{
		"a token that lives for thirty calls":    {TokenLifetime: 30 * time.Second, Now: aSecondEachTime()},
		"a clock an hour ahead":                  {Now: func() time.Time { return time.Now().Add(time.Hour) }},
		"a clock an hour behind":                 {Now: func() time.Time { return time.Now().Add(-time.Hour) }},
		"pages that begin at modifiedAfter":      {Inclusive: true, PageSize: 20},
		"a limit of requests":                    {RateLimit: 40},
		"one of three requests is reset":         {},
		"bursts of 503":                          {},
		"429 with a short wait":                  {},
		"answers that break off":                 {},
		"a token that is revoked":                {},
		"the platform shows an older state":      {},
		"the platform's answers are lost":        {},
		"the platform has short outages":         {},
		"the broker refuses, returns and breaks": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := someData()
			if config.TokenLifetime > 0 { // one call after another, so that no token expires on the way
				data = threatmatchtest.Generate(threatmatchtest.Shape{Seed: 7, Profiles: 60})
			}
			config.Data = data
			w := newWorld(t, worldConfig{api: config})
			if config.TokenLifetime > 0 {
				w.env["THREATMATCH_CONCURRENCY"] = "1"
			}
			lossless := true // nothing has to be sent twice
			switch name {
			case "one of three requests is reset":
				firstAttempts(w, every(3, threatmatchtest.Reset()))
			case "bursts of 503":
				firstAttempts(w, func(n int) threatmatchtest.Fault {
					if n < 20 || n > 28 {
						return nil
					}
					return threatmatchtest.Status(503)
				})
			case "429 with a short wait":
				again := threatmatchtest.RetryAfter("1")
				firstAttempts(w, func(n int) threatmatchtest.Fault {
					return map[int]threatmatchtest.Fault{5: again, 25: again, 30: threatmatchtest.RetryAfter("rubbish"), 45: again}[n]
				})
			case "answers that break off":
				firstAttempts(w, every(9, threatmatchtest.Truncated(300)))
			case "a token that is revoked":
				w.api.Fault(threatmatchtest.Rule{Path: "/api/stix/*", From: 30, To: 30, Do: func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
					w.api.Revoke()
					next.ServeHTTP(rw, r)
				}})
			case "the platform shows an older state":
				w.platform.StaleEcho(4)
			case "the platform's answers are lost":
				for _, operation := range []string{"workAdd", "addExpectations", "pingConnector"} {
					w.platform.Fault(openctitest.Rule{Operation: operation, From: 1, Do: openctitest.DropAnswer})
					w.platform.Fault(openctitest.Rule{Operation: operation, From: 3, Do: openctitest.DropAnswer})
				}
			case "the platform has short outages":
				for n := 3; n < 20; n += 4 {
					w.platform.Fault(openctitest.Rule{From: n, Do: openctitest.Status(502, "<html>bad gateway</html>")})
				}
			case "the broker refuses, returns and breaks":
				lossless = false
				w.broker.FaultAt(20, 1)   // nack
				w.broker.FaultAt(700, 2)  // return
				w.broker.FaultAt(900, 3)  // cut before
				w.broker.FaultAt(1500, 4) // cut after
				w.broker.FaultAt(1900, 5) // channel closed
			}
			w.run(exitOK)
			messages := w.take()
			if lossless {
				w.checkWhole(data)
				w.checkBooks(messages, false)
				if tokens := w.api.Count("/api/developers-platform/token"); strings.HasPrefix(name, "a token") && tokens < 2 {
					t.Errorf("%d tokens were asked for", tokens)
				} else if name == "a token that is revoked" && tokens > 1+2*concurrency+1 {
					t.Errorf("%d tokens were asked for, more than calls can have met the revoked one", tokens)
				}
				return
			}
			checkOrder(t, messages)
			checkHeld(t, messages, held(t, data, defaultMapping))
			if work := w.lastWork(); work.Closed != 1 || work.InError || work.Expected < len(held(t, data, defaultMapping)) {
				t.Errorf("the work is %+v", work)
			}
		})
	}
}

func TestADeletedWorkMakesTheRunVoid(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 3, Profiles: 120, Alerts: 120, Indicators: 1500})
	for _, moment := range []string{"addExpectations", "pingConnector", "toProcessed"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data, Latency: 60 * time.Millisecond}})
			deleted := ""
			w.platform.OnOperation(func(operation string) {
				works := w.platform.Works()
				if operation != moment || deleted != "" || len(works) == 0 {
					return
				}
				if moment != "toProcessed" && works[0].Expected < 1000 {
					return
				}
				deleted = works[0].ID
				w.platform.DeleteWork(deleted)
			})
			p := w.run(exitRunFailed)
			if deleted == "" || !p.logs("the work was deleted") {
				t.Errorf("deleted %q\n%s", deleted, p.tail())
			}
			dropped := w.take()
			if s := parseState(t, w.platform.State()); !s.LastRun.IsZero() || strings.Contains(w.platform.State(), `"after"`) {
				t.Errorf("after a void run the state is %s", w.platform.State())
			}
			w.run(exitOK)
			messages := w.take()
			checkOrder(t, messages)
			checkOnce(t, messages)
			checkHeld(t, messages, held(t, data, defaultMapping))
			w.checkLastWork(messages)
			t.Logf("%d messages of the deleted work, %d after it", len(dropped), len(messages))
		})
	}
}

func TestAResetMakesTheRunVoidAndTheNextAFirstOne(t *testing.T) {
	t.Parallel()
	data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 5, Profiles: 80, Alerts: 80, Indicators: 1000})
	for _, tt := range []struct {
		name      string
		scheduled bool
		untimed   bool
		again     bool
	}{
		{name: "in a single run"}, {name: "scheduled", scheduled: true},
		{name: "scheduled, older platform", scheduled: true, untimed: true},
		{name: "after a complete run", scheduled: true, again: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data},
				platform: openctitest.Config{NoStateTimestamp: tt.untimed, Version: map[bool]string{true: "6.9.0"}[tt.untimed]}})
			if tt.again {
				w.run(exitOK)
				w.take()
			}
			g := w.itemGate(data, 40)
			p := w.start("CONNECTOR_RUN_AND_TERMINATE="+map[bool]string{true: "false", false: "true"}[tt.scheduled], "CONNECTOR_DURATION_PERIOD=P1D",
				"CONNECTOR_REIMPORT="+map[bool]string{true: "true", false: "false"}[tt.again])
			eventually(t, "progress is committed", func() bool {
				return strings.Contains(w.platform.State(), `"after"`) && w.depth() > 500
			})
			works := len(w.platform.Works())
			if err := w.platform.Reset(); err != nil {
				t.Fatal(err)
			}
			g.lift()
			if tt.scheduled {
				eventually(t, "last_run is committed", func() bool {
					return len(w.platform.Works()) > works && !parseState(t, w.platform.State()).LastRun.IsZero()
				})
				p.signal(syscall.SIGTERM)
				p.wants(exitOK)
			} else {
				p.wants(exitRunFailed)
				if s := parseState(t, w.platform.State()); !s.LastRun.IsZero() || strings.Contains(w.platform.State(), `"after"`) {
					t.Errorf("after a reset the state is %s", w.platform.State())
				}
				w.run(exitOK)
			}
			last := w.lastWork()
			messages := slices.DeleteFunc(w.take(), func(m delivery) bool { return m.Work != last.ID })
			checkOrder(t, messages)
			checkOnce(t, messages)
			checkHeld(t, messages, held(t, data, defaultMapping))
			w.checkLastWork(messages)
		})
	}
}
