package status

import (
	"context"
	"net/http"
	"net/http/httptrace"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
)

// WatchState returns the platform as the state's keeper uses it: each request shows that the heartbeat, where it waits for it,
// is not stuck, and pings show whether the token is taken.
func (s *Status) WatchState(p state.Platform) state.Platform { return watchedState{p, s} }

// watchedState watches the requests about the state. A call can be several of them.
type watchedState struct {
	state.Platform
	status *Status
}

// Ping watches and passes on.
func (w watchedState) Ping(ctx context.Context, text string) (state.Held, error) {
	defer w.status.requested()
	held, err := w.Platform.Ping(w.watch(ctx), text)
	w.status.TokenTried(err)
	return held, err
}

// ConnectorState watches and passes on.
func (w watchedState) ConnectorState(ctx context.Context) (state.Held, error) {
	defer w.status.requested()
	return w.Platform.ConnectorState(w.watch(ctx))
}

// Register watches and passes on.
func (w watchedState) Register(ctx context.Context) (state.Held, error) {
	defer w.status.requested()
	held, err := w.Platform.Register(w.watch(ctx))
	w.status.TokenTried(err)
	return held, err
}

func (w watchedState) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: func(string) { w.status.requested() }})
}

// WatchPlatform returns the platform as a run uses it: its calls are counted, so that a run that waits for it is seen to
// try.
func (s *Status) WatchPlatform(c *opencti.Client) WatchedPlatform { return WatchedPlatform{c, s} }

// WatchedPlatform counts the calls of a run.
type WatchedPlatform struct {
	*opencti.Client
	status *Status
}

// asks counts a call for which the emitter waits, until the returned function is called.
func (w WatchedPlatform) asks() (answered func()) {
	w.status.change(func() { w.status.total.calls++; w.status.asking++ })
	return func() { w.status.change(func() { w.status.asking-- }) }
}

// AddWork counts and passes on.
func (w WatchedPlatform) AddWork(ctx context.Context, friendlyName string) (string, error) {
	defer w.asks()()
	return w.Client.AddWork(ctx, friendlyName)
}

// AddExpectations counts and passes on.
func (w WatchedPlatform) AddExpectations(ctx context.Context, workID string, n int) error {
	defer w.asks()()
	return w.Client.AddExpectations(ctx, workID, n)
}

// Expectations counts and passes on.
func (w WatchedPlatform) Expectations(ctx context.Context, workID string) (int, error) {
	w.status.Called()
	return w.Client.Expectations(ctx, workID)
}

// ReportLeftOut counts and passes on.
func (w WatchedPlatform) ReportLeftOut(ctx context.Context, workID, what string) error {
	defer w.asks()()
	return w.Client.ReportLeftOut(ctx, workID, what)
}

// CloseWork counts and passes on.
func (w WatchedPlatform) CloseWork(ctx context.Context, workID, message string, inError bool) error {
	w.status.Called()
	return w.Client.CloseWork(ctx, workID, message, inError)
}

// Watch counts and passes on.
func (w WatchedPlatform) Watch(ctx context.Context, workID string) (opencti.Watched, error) {
	w.status.Called()
	return w.Client.Watch(ctx, workID)
}

// Work counts and passes on.
func (w WatchedPlatform) Work(ctx context.Context, workID string) (opencti.WorkReport, error) {
	w.status.Called()
	return w.Client.Work(ctx, workID)
}

// Relations counts and passes on.
func (w WatchedPlatform) Relations(ctx context.Context) (map[string][]string, error) {
	w.status.Called()
	return w.Client.Relations(ctx)
}

// Holds counts and passes on.
func (w WatchedPlatform) Holds(ctx context.Context, ids []string) (map[string]string, error) {
	defer w.asks()()
	return w.Client.Holds(ctx, ids)
}

// WatchTransport returns a transport to ThreatMatch whose answers are looked at: one to a request that bears a token shows that
// the credentials are taken. That they are not takes more than one answer: a token may have expired on its way.
func (s *Status) WatchTransport(t http.RoundTripper) http.RoundTripper { return watchedTransport{t, s} }

// watchedTransport looks at ThreatMatch's answers.
type watchedTransport struct {
	http.RoundTripper
	status *Status
}

// RoundTrip looks and passes on.
func (w watchedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(r)
	if err == nil && resp.StatusCode < http.StatusMultipleChoices && r.Header.Get("Authorization") != "" {
		w.status.Credentials(ThreatMatch, false)
	}
	return resp, err
}

// CloseIdleConnections passes on.
func (w watchedTransport) CloseIdleConnections() {
	if t, ok := w.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
