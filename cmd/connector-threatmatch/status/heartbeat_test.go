package status

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
)

// store is the platform as a keeper wants it.
type store struct {
	client *opencti.Client
	status *Status
}

func (s store) Ping(ctx context.Context, text string) (state.Held, error) {
	e, err := s.client.Ping(ctx, text, s.status.Told())
	return state.Held{State: e.State, Stamp: e.StateTimestamp}, called(err)
}

func (s store) ConnectorState(ctx context.Context) (state.Held, error) {
	e, err := s.client.ConnectorState(ctx)
	return state.Held{State: e.State, Stamp: e.StateTimestamp}, called(err)
}

func (s store) Register(ctx context.Context) (state.Held, error) {
	r, err := s.client.Register(ctx, opencti.Registration{Name: "ThreatMatch"})
	return state.Held{State: r.State, Stamp: r.StateTimestamp}, called(err)
}

func called(err error) error {
	if err == nil {
		return nil
	}
	return &state.CallError{Err: err, Temporary: opencti.IsTemporary(err), Unsent: opencti.IsUnsent(err)}
}

// noIndex has counted nothing.
type noIndex struct{ state.Index }

func (noIndex) ID() string                               { return "" }
func (noIndex) Counter() uint64                          { return 0 }
func (noIndex) SetCounter(context.Context, uint64) error { return nil }
func (noIndex) Folder() string                           { return "" }
func (noIndex) Empty(context.Context) error              { return nil }
func (noIndex) Flush(context.Context) error              { return nil }
func (noIndex) HoldsBack() bool                          { return false }

// joined is a connector that has joined a platform.
type joined struct {
	status   *Status
	platform *openctitest.Platform
	keeper   *state.Keeper
	takes    atomic.Int64 // how long the platform takes for any answer
	lost     atomic.Bool  // the next answer is
}

func join(t *testing.T, cfg openctitest.Config) *joined {
	t.Helper()
	cfg.Token = configtest.Token
	p, err := openctitest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	j := &joined{status: New(load(t, nil), everyDataset), platform: p}
	client, err := opencti.New(opencti.Config{URL: "http://opencti", Token: configtest.Token, ConnectorID: configtest.ConnectorID, HTTP: &http.Client{Transport: carrier(j.carry)}})
	if err != nil {
		t.Fatal(err)
	}
	p.SetState(`{"last_run":"2025-04-17T15:24:00+00:00"}`)
	platform := j.status.WatchState(store{client, j.status})
	held, err := platform.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	j.keeper = state.NewKeeper(state.Config{
		Platform: platform, Index: noIndex{}, Enabled: []string{"iocs"}, Every: HeartbeatEvery, OnPing: j.status.Pinged, OnBeat: j.status.Beat,
		ImportFrom: time.Now,
	})
	if err := j.keeper.Adopt(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	j.status.Joined(nil, nil, nil)
	return j
}

// carry has the platform do what it is asked, and answer late.
func (j *joined) carry(r *http.Request) (*http.Response, error) {
	resp, err := j.platform.Transport().RoundTrip(r)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(time.Duration(j.takes.Load())):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if j.lost.Swap(false) {
		return nil, io.ErrUnexpectedEOF
	}
	return resp, nil
}

// beat lets the heart beat until the function that it returns is called.
func (j *joined) beat() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); j.keeper.Heartbeat(ctx) }()
	return func() { cancel(); <-done }
}

func (j *joined) commit(ctx context.Context, run uint32) error {
	return j.keeper.Begin(ctx, run).Commit(ctx, map[string]pipeline.Cursor{"iocs": {Since: time.Now()}})
}

func TestASlowPlatformDoesNotStopTheHeartbeat(t *testing.T) {
	const slow = 59 * time.Second // the client waits for a minute
	for name, cfg := range map[string]openctitest.Config{
		"timed":   {},
		"untimed": {NoStateTimestamp: true},
		"oldest":  {Version: "6.0.0", NoStateTimestamp: true, Without: []string{"Mutation.pingConnector.connectorInfo"}},
	} {
		for what, happens := range map[string]func(t *testing.T, j *joined){
			"nothing": func(*testing.T, *joined) {},
			"a reset": func(t *testing.T, j *joined) {
				if err := j.platform.Reset(); err != nil {
					t.Fatal(err)
				}
			},
			"a lost answer":  func(_ *testing.T, j *joined) { j.lost.Store(true) },
			"no more answer": func(_ *testing.T, j *joined) { j.takes.Store(int64(time.Hour)) },
			"a reset that a commit finds": func(t *testing.T, j *joined) {
				if err := j.platform.Reset(); err != nil {
					t.Fatal(err)
				}
				go func() { _ = j.commit(t.Context(), 1) }()
			},
			"a deletion": func(t *testing.T, j *joined) {
				if err := j.platform.DeleteConnector(); err != nil {
					t.Fatal(err)
				}
			},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					j := join(t, cfg)
					j.takes.Store(int64(slow))
					stop := j.beat()
					defer stop()
					if ailment, after := watch(j.status, 5*time.Minute); ailment != "" {
						t.Fatalf("after %s: %s", after, ailment)
					}
					happens(t, j)
					if ailment, after := watch(j.status, time.Hour); ailment != "" {
						t.Errorf("after %s: %s", after, ailment)
					}
				})
			})
		}
	}
}

func TestPingsOfARunDoNotHideAHeartbeatThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := join(t, openctitest.Config{})
		stop := j.beat()
		time.Sleep(time.Minute)
		stop() // stuck for ever
		stuck := time.Now()
		for ailment := ""; ; time.Sleep(3 * time.Second) {
			if err := j.commit(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			after := time.Since(stuck)
			if ailment = j.status.ailment(); strings.Contains(ailment, "the heartbeat has not run") {
				return
			}
			if after > heartbeatLimit+time.Minute {
				t.Fatalf("%s after the last beat: %q", after, ailment)
			}
		}
	})
}

func TestAPlatformThatHangsForEverMakesAHeartbeatUnwell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := join(t, openctitest.Config{})
		ctx, end := context.WithCancel(t.Context())
		j.status.Beat(true)
		asked := make(chan struct{})
		go func() { // a question that no time limit ends
			defer close(asked)
			_, _ = j.status.WatchState(hangs{}).ConnectorState(ctx)
		}()
		ailment, after := watch(j.status, time.Hour)
		if !strings.Contains(ailment, "the heartbeat has not run") || after > heartbeatLimit+time.Minute {
			t.Errorf("after %s: %q", after, ailment)
		}
		end()
		<-asked
	})
}

type hangs struct{ state.Platform }

func (hangs) ConnectorState(ctx context.Context) (state.Held, error) {
	<-ctx.Done()
	return state.Held{}, ctx.Err()
}
