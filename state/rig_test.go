package state

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token       = "d434ce02-e58e-4cac-8b4c-42bf16748e84"
	connectorID = "0a8f3a0c-6a2e-4c58-9a43-2a8c1f0b7f11"
)

var (
	importStart = time.Date(2025, 4, 10, 0, 0, 0, 0, time.UTC)
	passStart   = time.Date(2025, 4, 17, 15, 24, 0, 0, time.UTC)
)

// folder is an Index without records.
type folder struct {
	mu               sync.Mutex
	name             string // of a folder other than the usual one
	number           int
	flushed, emptied int
	fails            error
	emptying         func()
	full             bool // it cannot be emptied
	holdsBack        bool
	counter          uint64
	counting         func(n uint64)
}

func (f *folder) ID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "index " + strconv.Itoa(f.number)
}

func (f *folder) Flush(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushed++
	return f.fails
}

func (f *folder) HoldsBack() bool { return f.holdsBack }

func (f *folder) Empty(context.Context) error {
	if f.emptying != nil {
		f.emptying()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return errBroken
	}
	f.emptied++
	f.number++
	return nil
}

func (f *folder) Folder() string { return "folder" + f.name }

func (f *folder) Counter() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counter
}

func (f *folder) SetCounter(_ context.Context, n uint64) error {
	if f.counting != nil {
		f.counting(n)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counter = n
	return nil
}

// rig is a keeper of the simulated platform, without a socket between them.
type rig struct {
	*Keeper
	t          *testing.T
	platform   *openctitest.Platform
	client     client
	index      *folder
	registered Held
	log        *observer.ObservedLogs
	starts     int // calls of ImportFrom

	mu              sync.Mutex
	resets, backups int
}

func platform(t *testing.T, cfg openctitest.Config) *openctitest.Platform {
	t.Helper()
	cfg.Token = token
	p, err := openctitest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newRig(t *testing.T, cfg openctitest.Config) *rig {
	t.Helper()
	r := join(t, platform(t, cfg), &folder{}, "alerts", "iocs")
	if err := r.adopt(); err != nil {
		t.Fatal(err)
	}
	return r
}

// join registers a connector, as one that starts does.
func join(t *testing.T, p *openctitest.Platform, index *folder, enabled ...string) *rig {
	t.Helper()
	real, err := opencti.New(opencti.Config{
		URL: "http://opencti.test", Token: token, ConnectorID: connectorID, HTTP: &http.Client{Transport: p.Transport()},
	})
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zapcore.InfoLevel)
	r := &rig{t: t, platform: p, client: client{real}, index: index, log: logged}
	if r.registered, err = r.client.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Keeper = NewKeeper(Config{
		Platform: r.client, Index: index, Enabled: enabled, Log: zap.New(core),
		ImportFrom: func() time.Time { r.starts++; return importStart.AddDate(0, 0, r.starts-1) },
		OnVoid: func(why error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if errors.Is(why, ErrReset) {
				r.resets++
			} else {
				r.backups++
			}
		},
	})
	return r
}

func (r *rig) adopt() error { return r.Adopt(r.t.Context(), r.registered) }

// lastNumber numbers the runs of all rigs.
var lastNumber atomic.Uint32

// begin begins a run.
func (r *rig) begin() *RunCheckpoint { return r.Begin(r.t.Context(), lastNumber.Add(1)) }

// client is the real client as a keeper wants it.
type client struct{ *opencti.Client }

func (c client) Ping(ctx context.Context, state string) (Held, error) {
	e, err := c.Client.Ping(ctx, state, opencti.Info{})
	return Held{e.State, e.StateTimestamp}, callError(err)
}

func (c client) ConnectorState(ctx context.Context) (Held, error) {
	e, err := c.Client.ConnectorState(ctx)
	return Held{e.State, e.StateTimestamp}, callError(err)
}

func (c client) Register(ctx context.Context) (Held, error) {
	r, err := c.Client.Register(ctx, opencti.Registration{Name: "ThreatMatch", Scope: []string{"threatmatch"}})
	return Held{r.State, r.StateTimestamp}, callError(err)
}

func callError(err error) error {
	if err == nil {
		return nil
	}
	return &CallError{err, errors.Is(err, opencti.ErrConnectorGone), opencti.IsTemporary(err), opencti.IsUnsent(err), opencti.IsForbidden(err)}
}

func (r *rig) resetsSeen() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.resets
}

// expectResets checks how often an operator was obeyed.
func (r *rig) expectResets(want int) {
	r.t.Helper()
	if got := r.resetsSeen(); got != want {
		r.t.Errorf("%d resets were obeyed, want %d", got, want)
	}
}

// beat runs the heartbeat until the function that it returns is called.
func (r *rig) beat() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var beating sync.WaitGroup
	beating.Go(func() { r.Heartbeat(ctx) })
	return func() { cancel(); beating.Wait() }
}

// beatOnce lets the heart beat for a second.
func (r *rig) beatOnce() { r.watchFor(time.Second) }

// watchFor lets the heart beat for a while.
func (r *rig) watchFor(d time.Duration) {
	stop := r.beat()
	time.Sleep(d)
	stop()
}

// commit commits where a dataset is.
func (r *rig) commit(c *RunCheckpoint, dataset string, cursor pipeline.Cursor) error {
	return c.Commit(r.t.Context(), map[string]pipeline.Cursor{dataset: cursor})
}

func (r *rig) mustCommit(c *RunCheckpoint, dataset string, cursor pipeline.Cursor) {
	r.t.Helper()
	if err := r.commit(c, dataset, cursor); err != nil {
		r.t.Fatal(err)
	}
	if held := r.platform.State(); held != r.Text() {
		r.t.Fatalf("committed %s, the platform holds %s", r.Text(), held)
	}
}

// within is a cursor within a first pass, done is the one behind it.
func within(after string) pipeline.Cursor {
	return pipeline.Cursor{Since: importStart, Pass: &pipeline.Pass{Started: passStart, After: after}}
}

func done() pipeline.Cursor { return pipeline.Cursor{Since: passStart} }

// claimsNothing says that a state tells of no delivery, though it may say whose it is.
func claimsNothing(text string) bool {
	d, err := parse(text)
	return err == nil && d.fresh() && d.index == ""
}

// errorsLogged counts lines of the level error.
func (r *rig) errorsLogged() int { return r.log.FilterLevelExact(zapcore.ErrorLevel).Len() }

var errBroken = errors.New("broken")
