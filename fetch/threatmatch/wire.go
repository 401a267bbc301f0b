package threatmatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// wire is the lowest layer of ours: it lets requests out at the permitted rate, with a token that is still good when
// they leave, and ends attempts that make no progress.
type wire struct {
	cfg      Config
	tokens   *tokens
	limiter  *rate.Limiter
	requests atomic.Int64 // that left
	waits    atomic.Int64 // for the limiter
	waited   atomic.Int64 // nanoseconds, in all waits
	cool     atomic.Int64 // the moment before which nothing leaves, in nanoseconds on the monotonic clock since made
	made     time.Time
	progress func() // is called now and then while an answer comes in
}

func newWire(cfg Config, t *tokens) *wire {
	w := &wire{cfg: cfg, tokens: t, limiter: rate.NewLimiter(rate.Inf, 1), made: time.Now()}
	if r := cfg.RatePerSecond; r > 0 {
		// A burst of 20 ms' worth evens out the timer's grain at high rates and is one request at usual ones.
		w.limiter = rate.NewLimiter(rate.Limit(r), int(max(1, math.Floor(r/50))))
	}
	return w
}

// tokenFailure carries the error of the token through the call that wanted it: that error has had its retries.
type tokenFailure struct{ err error }

func (e *tokenFailure) Error() string { return e.err.Error() }
func (e *tokenFailure) Unwrap() error { return e.err }

var (
	errNoAnswer = errors.New("no answer in time")
	errStalled  = errors.New("the answer stalled")
	errTooSlow  = errors.New("the answer took too long as a whole")
)

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	k := callOf(req.Context())
	t, err := w.permit(req.Context(), k)
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	watched := &watchedBody{ctx: ctx, cancel: cancel, stall: w.cfg.StallTimeout, progress: w.progress}
	watched.whole = time.AfterFunc(w.cfg.AttemptTimeout, func() { cancel(errTooSlow) })
	head := time.AfterFunc(w.cfg.HeadTimeout, func() { cancel(errNoAnswer) })

	out := req.Clone(ctx)
	if t != nil {
		bearer(out.Header, t)
	}
	k.used = t
	k.attempts++
	w.requests.Add(1)
	resp, err := w.cfg.Transport.RoundTrip(out)
	head.Stop()
	if err != nil {
		err = causeOf(ctx, err)
		watched.whole.Stop()
		cancel(nil)
		return nil, err
	}
	watched.body = resp.Body
	watched.watch()
	resp.Body = watched
	return resp, nil
}

// permit waits for the rate limit and for a token. The token is taken after the wait, and the wait is repeated after a
// refresh: else a token of a second would expire in the queue, and all who waited for a refresh would leave at once.
func (w *wire) permit(ctx context.Context, k *call) (*token, error) {
	const rounds = 16
	for round := 0; ; round++ {
		if err := w.leave(ctx); err != nil {
			return nil, err
		}
		if k.forToken {
			return nil, nil
		}
		if t := w.tokens.peek(); t != nil {
			return t, nil
		}
		t, err := w.tokens.get(ctx)
		if err != nil {
			return nil, &tokenFailure{err}
		}
		if round >= rounds || w.limiter.Limit() == rate.Inf {
			return t, nil
		}
	}
}

// coolDown lets nothing leave for a time: a server that has had enough of one call has had enough of all.
func (w *wire) coolDown(wait time.Duration) {
	until := int64(time.Since(w.made) + wait)
	for old := w.cool.Load(); old < until && !w.cool.CompareAndSwap(old, until); old = w.cool.Load() {
	}
}

// leave waits until a request may leave.
func (w *wire) leave(ctx context.Context) error {
	for {
		if err := w.takeTurn(ctx); err != nil {
			// The limiter foresees that the context will end first; its end is what the caller knows how to read.
			<-ctx.Done()
			return ctx.Err()
		}
		wait := time.Duration(w.cool.Load()) - time.Since(w.made)
		if wait <= 0 {
			return nil
		}
		if remote.Wait(ctx, wait) != nil { // and then for the limiter again, so that not all who waited leave at once
			return ctx.Err()
		}
	}
}

// takeTurn waits for the limiter, and counts that where it is not at once.
func (w *wire) takeTurn(ctx context.Context) error {
	if w.limiter.Allow() {
		return nil
	}
	began := time.Now()
	err := w.limiter.Wait(ctx)
	w.waits.Add(1)
	w.waited.Add(int64(time.Since(began)))
	return err
}

// causeOf prefers our own reason for ending an attempt to the transport's word for it.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
		return cause
	}
	return err
}

// watchedBody ends an attempt whose body stalls or trickles.
type watchedBody struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	stall  time.Duration
	whole  *time.Timer
	// progress is called where enough has come in to go on.
	progress func()

	mu     sync.Mutex
	recent int
	timer  *time.Timer
	closed bool
}

func (b *watchedBody) watch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer = time.AfterFunc(b.stall, b.look)
}

func (b *watchedBody) look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	if b.recent < stallBytes {
		b.cancel(fmt.Errorf("%w: %d bytes in %s", errStalled, b.recent, b.stall))
		return
	}
	b.recent = 0
	b.timer.Reset(b.stall)
	b.progress()
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.mu.Lock()
	b.recent += n
	b.mu.Unlock()
	if err != nil && !errors.Is(err, io.EOF) {
		err = causeOf(b.ctx, err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.mu.Lock()
	b.closed = true
	b.timer.Stop()
	b.mu.Unlock()
	b.whole.Stop()
	b.cancel(nil)
	return b.body.Close()
}
