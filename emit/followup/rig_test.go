package followup

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
	"github.com/opencti-connectors/threatmatch/transform"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run is the number of the run that opened the work.
const run = 7

// rig is a follower of one work that was closed, with everything around it.
type rig struct {
	*Follower
	t        *testing.T
	dir      string
	platform *openctitest.Platform
	client   *opencti.Client
	keeper   *state.Keeper
	options  index.Options
	index    *index.Index
	logs     *observer.ObservedLogs
	work     string
}

// store is the client as a keeper wants it.
type store struct{ *opencti.Client }

func (s store) Ping(ctx context.Context, text string) (state.Held, error) {
	e, err := s.Client.Ping(ctx, text, opencti.Info{})
	return state.Held{State: e.State, Stamp: e.StateTimestamp}, err
}

func (s store) ConnectorState(ctx context.Context) (state.Held, error) {
	e, err := s.Client.ConnectorState(ctx)
	return state.Held{State: e.State, Stamp: e.StateTimestamp}, err
}

func (s store) Register(ctx context.Context) (state.Held, error) {
	r, err := s.Client.Register(ctx, opencti.Registration{Name: "ThreatMatch", Scope: []string{"threatmatch"}})
	return state.Held{State: r.State, Stamp: r.StateTimestamp}, err
}

func newRig(t *testing.T) *rig {
	t.Helper()
	p, err := openctitest.New(openctitest.Config{Token: "token"})
	must(t, err)
	r := &rig{t: t, dir: t.TempDir(), platform: p}
	r.client, err = opencti.New(opencti.Config{
		URL: "http://opencti.test", Token: "token", ConnectorID: "0a8f3a0c-6a2e-4c58-9a43-2a8c1f0b7f11", HTTP: &http.Client{Transport: p.Transport()},
	})
	must(t, err)
	r.start()
	t.Cleanup(func() { must(t, r.index.Close()) })
	r.work, err = r.client.AddWork(t.Context(), "a run")
	must(t, err)
	must(t, r.keeper.Begin(t.Context(), run).Opened(t.Context(), r.work))
	return r
}

// start starts a process on what is on disk and at OpenCTI.
func (r *rig) start() {
	var err error
	var opening index.Opening
	r.index, opening, err = index.Open(r.t.Context(), r.dir, index.Identity{}, r.options)
	must(r.t, err)
	core, logs := observer.New(zapcore.InfoLevel)
	r.logs = logs
	r.keeper = state.NewKeeper(state.Config{
		Platform: store{r.client}, Index: r.index, WaitingLost: opening.WaitingLost != "", ImportFrom: func() time.Time { return time.Unix(0, 0) }, Log: zap.New(core),
	})
	held, err := store{r.client}.Register(r.t.Context())
	must(r.t, err)
	must(r.t, r.keeper.Adopt(r.t.Context(), held))
	r.Follower = New(Config{Platform: r.client, Keeper: r.keeper, Index: r.index, Reread: transform.Reread, AsAddition: transform.AsAddition, Log: zap.New(core)})
}

// crash ends the process and starts another one, to which OpenCTI says the state that it was last told.
func (r *rig) crash() {
	must(r.t, r.index.Close())
	r.start()
}

// deliver lets the index know of objects as the run has sent them, and workers import them.
func (r *rig) deliver(objects ...pipeline.Object) {
	r.t.Helper()
	must(r.t, r.client.AddExpectations(r.t.Context(), r.work, len(objects)))
	for _, o := range objects {
		rec := index.Record{Digest: 42, Run: run, Seq: 1, Refs: uint16(len(o.Refs))}
		if !o.Modified.IsZero() {
			rec.Modified = o.Modified.UnixMicro()
		}
		r.index.Put(index.KeyOf(o.ID), rec)
		if o.AltID != "" {
			r.index.Put(index.KeyOf(o.AltID), rec)
		}
		r.importText(o.JSON)
	}
}

// deliverText delivers a text of which the index knows already.
func (r *rig) deliverText(o pipeline.Object) {
	r.t.Helper()
	must(r.t, r.client.AddExpectations(r.t.Context(), r.work, 1))
	r.importText(o.JSON)
}

// importText lets workers import an object.
func (r *rig) importText(text json.RawMessage) {
	r.t.Helper()
	bundle, err := json.Marshal(map[string]any{"type": "bundle", "objects": []json.RawMessage{text}})
	must(r.t, err)
	message, err := json.Marshal(map[string]any{"work_id": r.work, "content": base64.StdEncoding.EncodeToString(bundle)})
	must(r.t, err)
	r.platform.Import(message)
}

// close closes the work.
func (r *rig) close() {
	r.t.Helper()
	must(r.t, r.client.CloseWork(r.t.Context(), r.work, "done", false))
	must(r.t, r.keeper.Closed(r.t.Context(), r.work))
}

// sendAgain takes from the shelf what a run would send.
func (r *rig) sendAgain() {
	r.t.Helper()
	for w, err := range r.index.Waiting().All() {
		must(r.t, err)
		must(r.t, r.index.Waiting().Remove(r.t.Context(), []string{w.Object.ID}))
	}
}

func (r *rig) look() Found {
	r.t.Helper()
	found, err := r.Look(r.t.Context(), true)
	must(r.t, err)
	return found
}

func (r *rig) record(id string) index.Record {
	rec, _ := r.index.Lookup(index.KeyOf(id))
	return rec
}

// named counts the lines that name an object which OpenCTI lacks.
func (r *rig) named() int {
	return r.logs.FilterLevelExact(zapcore.ErrorLevel).FilterFieldKey("object").Len()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func object(t *testing.T, text string) pipeline.Object {
	t.Helper()
	o, err := transform.Reread([]byte(text))
	must(t, err)
	return o
}
