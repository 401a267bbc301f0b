package heldstate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	connectorID = "0a8f3a0c-6a2e-4c58-9a43-2a8c1f0b7f11"
	text        = `{"datasets":{"alerts":{"since":"1999-04-10T00:00:00Z"}},"index":"i","folder":"f","commits":4,"version":1}`
)

// rig is a desk at a platform, without a socket between them; the connector was stopped an hour ago.
type rig struct {
	*Desk
	platform   *openctitest.Platform
	out, words bytes.Buffer
}

func newRig(t *testing.T, cfg openctitest.Config) *rig {
	t.Helper()
	p, err := openctitest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := opencti.New(opencti.Config{URL: "http://opencti.test", ConnectorID: connectorID, HTTP: &http.Client{Transport: p.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Register(t.Context(), opencti.Registration{Name: "ThreatMatch", Scope: []string{"threatmatch"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.StoreState(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	p.LastHeard(time.Hour)
	r := &rig{platform: p}
	r.Desk = &Desk{Platform: client, ConnectorID: connectorID, Datasets: []string{"alerts", "iocs"}, Yes: true, Out: &r.out, Words: &r.words}
	return r
}

// longAgo lies before the clock of the tests begins.
var longAgo = time.Date(1999, 4, 1, 0, 0, 0, 0, time.UTC)

// move moves the alerts to a moment long ago.
func (r *rig) move(t *testing.T) error { return r.SetSince(t.Context(), "alerts", longAgo) }

// moved reports whether the platform holds what move stores.
func (r *rig) moved() bool {
	s, err := state.Describe(r.platform.State())
	alerts, _ := s.Dataset("alerts")
	return err == nil && alerts.Since.Day() == 1 && s.Commits == 5
}

// everyPlatform runs a test on a clock of its own at releases that tell more or less.
func everyPlatform(t *testing.T, test func(t *testing.T, cfg openctitest.Config)) {
	for name, cfg := range map[string]openctitest.Config{
		"new": {}, "without a heartbeat": {Without: []string{"Connector.last_seen_at"}},
		"old": {NoStateTimestamp: true, Version: "6.0.0", Without: []string{"Connector.last_seen_at", "Mutation.pingConnector.connectorInfo"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, cfg) })
		})
	}
}

func TestAChangeIsStoredAndSeen(t *testing.T) {
	for name, trouble := range map[string]func(*openctitest.Platform) error{
		"at once":         func(*openctitest.Platform) error { return nil },
		"a stale echo":    func(p *openctitest.Platform) error { p.StaleEcho(2); return nil },
		"storage lags":    func(p *openctitest.Platform) error { p.Lag(3*time.Second, false); return nil },
		"echoes lag, too": func(p *openctitest.Platform) error { p.Lag(3*time.Second, true); return nil },
		"answers are lost": func(p *openctitest.Platform) error {
			p.Fault(openctitest.Rule{Operation: "pingConnector", To: 2, Do: openctitest.DropAnswer})
			return nil
		},
		"the platform restarts": func(p *openctitest.Platform) error {
			p.Fault(openctitest.Rule{Operation: "pingConnector", To: 5, Do: openctitest.Status(502, "<html>")})
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
				r := newRig(t, cfg)
				time.Sleep(time.Minute)
				if err := trouble(r.platform); err != nil {
					t.Fatal(err)
				}
				if err := r.move(t); err != nil || !r.moved() || !strings.Contains(r.out.String(), "Stored") {
					t.Errorf("%v; it holds %s\n%s", err, r.platform.State(), r.out.String())
				}
			})
		})
	}
}

func TestAChangeAfterAResetThatNobodyHasHeardOfIsStored(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		if err := r.platform.Reset(); err != nil {
			t.Fatal(err)
		}
		r.platform.LastHeard(time.Hour)
		if err := r.move(t); err != nil {
			t.Fatal(err)
		}
		s, err := state.Describe(r.platform.State())
		if alerts, found := s.Dataset("alerts"); err != nil || !found || alerts.Since.Day() != 1 || s.Index != "" {
			t.Errorf("%v; it holds %s", err, r.platform.State())
		}
		if !strings.Contains(r.out.String(), "starts a new one, and sends what it reads") {
			t.Errorf("%s", r.out.String())
		}
	})
}

func TestAConnectorThatIsActiveIsLeftAlone(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		r.platform.LastHeard(4 * time.Minute)
		if err := r.move(t); err == nil || !strings.Contains(err.Error(), "stop the connector first") || r.moved() {
			t.Errorf("%v", err)
		}
		time.Sleep(2 * time.Minute)
		if err := r.move(t); err != nil || !r.moved() {
			t.Errorf("%v", err)
		}
	})
}

func TestTheStateOfABackupIsLeftToTheConnector(t *testing.T) {
	dir := t.TempDir()
	x, _, err := index.Open(t.Context(), dir, index.Identity{Connector: connectorID}, index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	folder := x.Folder()
	if err := errors.Join(x.SetCounter(t.Context(), 5), x.Close()); err != nil {
		t.Fatal(err)
	}
	for commits, want := range map[int]bool{4: false, 5: true, 6: true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			r.StateDir = dir
			r.platform.SetState(fmt.Sprintf(`{"datasets":{"alerts":{"since":"1999-04-10T00:00:00Z"}},"folder":%q,"commits":%d}`, folder, commits))
			r.platform.LastHeard(time.Hour)
			if err := r.move(t); (err == nil) != want || !want && !strings.Contains(err.Error(), "restored from a backup") {
				t.Errorf("commit %d: %v", commits, err)
			}
		})
	}
}

func TestTheOperatorIsAskedAndMayLeaveIt(t *testing.T) {
	for answer, want := range map[string]bool{"yes\n": true, " yes \r\n": true, "y\n": false, "\n": false, "no\n": false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			r.Yes, r.JSON = false, true
			r.Ask = func(question string) (string, error) {
				if !strings.Contains(r.words.String(), "after:  read from 1999-04-01 00:00:00Z") {
					t.Errorf("before it is asked %q it says %s", question, r.words.String())
				}
				return answer, nil
			}
			err := r.move(t)
			if r.moved() != want || (err == nil) != want || !want && !errors.Is(err, errUnanswered) {
				t.Errorf("%q: %v; it holds %s", answer, err, r.platform.State())
			}
			if (r.out.Len() > 0) != want {
				t.Errorf("%q: %s", answer, r.out.String())
			}
		})
	}
}

func TestWithoutAnAnswerNothingIsChanged(t *testing.T) {
	for name, ask := range map[string]func(string) (string, error){"nobody": nil, "a closed input": func(string) (string, error) { return "", io.EOF }} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			r.Yes, r.Ask = false, ask
			var refusal *Refusal
			for _, err := range []error{r.move(t), r.Reset(t.Context())} {
				if !errors.As(err, &refusal) || refusal.ExitCode() != 2 || !strings.Contains(err.Error(), "--yes") {
					t.Errorf("%s: %v", name, err)
				}
			}
			if r.platform.State() != text {
				t.Errorf("%s: it holds %s", name, r.platform.State())
			}
		})
	}
}

func TestWhatHappensWhileTheOperatorThinksCounts(t *testing.T) {
	for name, tt := range map[string]struct {
		event func(r *rig) error
		says  string
	}{
		"another state": {func(r *rig) error { r.platform.SetState(`{"commits":9}`); return nil }, "another state"},
		"a reset":       {func(r *rig) error { return r.platform.Reset() }, "another state"},
		"a ping":        {func(r *rig) error { r.platform.LastHeard(0); return nil }, "stop the connector first"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, openctitest.Config{})
			r.Yes = false
			r.Ask = func(string) (string, error) {
				time.Sleep(time.Hour)
				return "yes", tt.event(r)
			}
			if err := r.move(t); err == nil || !strings.Contains(err.Error(), tt.says) || r.moved() {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestAConnectorThatRunsAllTheSameIsFoundOut(t *testing.T) {
	for name, cfg := range map[string]openctitest.Config{"in time": {}, "that does not tell": {NoStateTimestamp: true}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, cfg)
			r.platform.OnOperation(func(operation string) {
				if operation == "connector" && r.moved() {
					r.platform.SetState(`{"datasets":{"alerts":{"since":"1999-05-01T00:00:00Z"}},"folder":"f","commits":6}`)
				}
			})
			if err := r.move(t); err == nil || !strings.Contains(err.Error(), "the connector runs") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestAResetWhileAStateIsStoredCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		r.platform.OnPing(func(openctitest.Ping) {
			if r.platform.State() == text {
				if err := r.platform.Reset(); err != nil {
					t.Error(err)
				}
			}
		})
		if err := r.move(t); err == nil || !strings.Contains(err.Error(), "reset in OpenCTI meanwhile") {
			t.Errorf("%v; it holds %s", err, r.platform.State())
		}
	})
}

func TestAResetIsSeenThoughItsAnswerIsLost(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		r.platform.Lag(2*time.Second, false)
		r.platform.Fault(openctitest.Rule{Operation: "resetStateConnector", Do: openctitest.DropAnswer})
		if err := r.Reset(t.Context()); err == nil || !strings.Contains(err.Error(), "the state is reset") || r.platform.State() != "" {
			t.Errorf("%v; it holds %s", err, r.platform.State())
		}
	})
}

func TestAResetThatDidNotHappenIsNotClaimed(t *testing.T) {
	everyPlatform(t, func(t *testing.T, cfg openctitest.Config) {
		r := newRig(t, cfg)
		r.platform.Fault(openctitest.Rule{Operation: "resetStateConnector", Do: openctitest.GraphQLError("UNKNOWN_ERROR", "it burns")})
		if err := r.Reset(t.Context()); err == nil || !strings.Contains(err.Error(), "it burns") || strings.Contains(err.Error(), "the state is reset") {
			t.Errorf("%v", err)
		}
	})
}

func TestAnAbortedChangeEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, openctitest.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		r.platform.Fault(openctitest.Rule{Operation: "pingConnector", To: -1, Do: openctitest.Status(502, "<html>")})
		r.platform.OnOperation(func(string) {})
		time.AfterFunc(1500*time.Millisecond, cancel)
		begun := time.Now()
		err := r.SetSince(ctx, "alerts", longAgo)
		if !errors.Is(err, context.Canceled) || time.Since(begun) != 1500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}
