package apiqueue

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

const (
	// defaultAtOnce hides what OpenCTI takes for one of its answers, some 10 to 50 ms, and leaves it time for others.
	defaultAtOnce = 8
	// defaultWindowBytes bounds memory when objects are large.
	defaultWindowBytes = 64 << 20
	// defaultBundleObjects and defaultBundleBytes keep a bundle to what a platform splits within a second, and to what a proxy takes
	// that was not told otherwise: nginx 1 MiB.
	defaultBundleObjects = 200
	defaultBundleBytes   = 512 << 10
	// defaultPatience is how long errors are put up with that OpenCTI itself answers with: it calls a bundle invalid also where it
	// is its own RabbitMQ that does not take it, and a broker that restarts is back by then.
	defaultPatience = 10 * time.Minute
)

// Platform is OpenCTI's API.
type Platform interface {
	// PushBundle returns when the bundle is in the connector's queue.
	PushBundle(ctx context.Context, workID string, bundle []byte) error
	// CountsBundles reports whether the platform has told a work what to expect of the bundle that was pushed for it.
	CountsBundles(ctx context.Context, workID string) (bool, error)
}

// Config is what an [Outlet] needs. Zero values stand for the defaults.
type Config struct {
	Platform Platform
	Books    *emit.Books
	// AtOnce is how many bundles may be under way side by side, default 8.
	AtOnce int
	// WindowBytes is how many bytes of objects may be, default 64 MiB. One bundle may exceed it, alone.
	WindowBytes int64
	// BundleObjects and BundleBytes bound a bundle of a platform that takes bundles of many, default 200 and 512 KiB. One object may
	// exceed the latter, alone.
	BundleObjects int
	BundleBytes   int64
	// Patience is how long OpenCTI may refuse bundles before the run ends, default 10 minutes. One that does not answer is waited
	// for as long as it takes.
	Patience time.Duration
	Backoff  remote.Backoff
	Log      *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.AtOnce <= 0 {
		c.AtOnce = defaultAtOnce
	}
	if c.WindowBytes <= 0 {
		c.WindowBytes = defaultWindowBytes
	}
	if c.BundleObjects <= 0 {
		c.BundleObjects = defaultBundleObjects
	}
	if c.BundleBytes <= 0 {
		c.BundleBytes = defaultBundleBytes
	}
	if c.Patience <= 0 {
		c.Patience = defaultPatience
	}
	if c.Backoff.Min <= 0 {
		c.Backoff.Min = 250 * time.Millisecond
	}
	if c.Backoff.Max <= 0 {
		c.Backoff.Max = 15 * time.Second
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

// Outlet sends the messages of one run. One goroutine uses it, but for [Outlet.Stats].
type Outlet struct {
	cfg  Config
	ctx  context.Context // of what is under way
	end  context.CancelFunc
	wait sync.WaitGroup
	kind kind
	left int // messages of the batch that are still to come
	// passed counts messages that were refused before the kind was known, and that nothing was done about yet; unlisted names those that
	// were left out.
	passed   int
	unlisted []string
	filled   bundle
	rank     int64 // of what is under way

	mu      sync.Mutex    // guards all below
	changed chan struct{} // holds a token when something under way has ended
	stats   Stats
	failed  error // why nothing more is sent
	// began is since when OpenCTI has not taken what it was asked, and refusing since when it says so itself; zero while it is not so.
	began, refusing time.Time
}

var _ emit.Outlet = (*Outlet)(nil)

// kind is what is known of how the platform takes bundles.
type kind int

const (
	unknown kind = iota
	splits       // it splits and counts them itself
	queues       // it queues them as they are
)

// Stats are figures of an [Outlet].
type Stats struct {
	Sent, Confirmed, Refused uint64 // messages handed over, those that are queued, and those that are too large
	Again                    uint64 // attempts beyond a bundle's first
	UnderWay                 int    // bundles
	UnderWayBytes            int64
	// Failing says that OpenCTI has not taken what it was asked last.
	Failing bool
}

// New returns an outlet for one run. It must be closed.
func New(cfg Config) *Outlet {
	o := &Outlet{cfg: cfg.withDefaults(), changed: make(chan struct{}, 1)}
	o.ctx, o.end = context.WithCancel(context.Background())
	return o
}

// Stats returns the figures so far.
func (o *Outlet) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stats
}

// count changes the figures.
func (o *Outlet) count(change func(s *Stats)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(&o.stats)
}

// Begin opens the work, and tells it what to expect where OpenCTI does not.
func (o *Outlet) Begin(ctx context.Context, n int) error {
	o.left = n
	if o.kind == queues {
		return o.cfg.Books.Expect(ctx, n)
	}
	return o.cfg.Books.Open(ctx)
}

// Send sends a message beside those of its rank; see [emit.Outlet].
func (o *Outlet) Send(ctx context.Context, m emit.Message, sender emit.Sender, meanwhile func()) error {
	o.count(func(s *Stats) { s.Sent++ })
	if !o.filled.fits(m, o.cfg) {
		if err := o.dispatch(ctx, meanwhile); err != nil {
			return err
		}
	}
	o.filled.add(m, sender)
	o.left--
	if o.kind == splits && o.left > 0 {
		return nil
	}
	if err := o.dispatch(ctx, meanwhile); err != nil {
		return err
	}
	if o.kind == unknown {
		return o.findKind(ctx, meanwhile)
	}
	return nil
}

// Instead tells the work of what comes in place of a message, where OpenCTI does not.
func (o *Outlet) Instead(ctx context.Context, n int) error {
	o.left = n
	switch o.kind {
	case queues:
		return o.cfg.Books.Expect(ctx, n-1)
	case unknown:
		o.passed--
	}
	return nil // OpenCTI has not counted the one that was refused
}

// LeaveOut tells the work, and names in it what OpenCTI has not counted.
func (o *Outlet) LeaveOut(ctx context.Context, what string) error {
	switch {
	case o.kind == queues:
		return o.cfg.Books.LeaveOut(ctx, what)
	case o.kind == unknown:
		o.passed--
		if what != "" { // what is told now would look as if OpenCTI had counted
			o.unlisted = append(o.unlisted, what)
		}
	case what != "":
		return o.cfg.Books.List(ctx, what)
	}
	return nil
}

// findKind waits until the first message is in the queue, and finds out how the platform has taken it.
func (o *Outlet) findKind(ctx context.Context, meanwhile func()) error {
	if err := o.Flush(ctx, meanwhile); err != nil {
		return err
	}
	if o.Stats().Confirmed == 0 { // it was refused: the next one shows it
		o.passed++
		return nil
	}
	for failures := 0; ; failures++ {
		counts, err := o.cfg.Platform.CountsBundles(ctx, o.cfg.Books.Work())
		switch {
		case err == nil && counts:
			o.taken()
			o.kind = splits
			return o.list(ctx)
		case err == nil:
			o.taken()
			o.kind = queues
			if err := o.cfg.Books.Expect(ctx, o.passed+1+o.left); err != nil {
				return err
			}
			return o.list(ctx)
		}
		if err := o.outlast(ctx, failures, err); err != nil {
			return err
		}
	}
}

// list names in the work what was left out before the kind was known.
func (o *Outlet) list(ctx context.Context) error {
	for ; len(o.unlisted) > 0; o.unlisted = o.unlisted[1:] {
		if err := o.cfg.Books.List(ctx, o.unlisted[0]); err != nil {
			return err
		}
	}
	return nil
}

// dispatch sends what was collected, once what is under way leaves room.
func (o *Outlet) dispatch(ctx context.Context, meanwhile func()) error {
	b := o.filled
	if len(b.messages) == 0 {
		return nil
	}
	fits := func(s Stats) bool {
		switch {
		case s.UnderWay == 0:
			return true
		case b.rank() != o.rank: // what it refers to has to be in the queue before it
			return false
		}
		return s.UnderWay < o.cfg.AtOnce && s.UnderWayBytes+b.bytes <= o.cfg.WindowBytes
	}
	if err := o.await(ctx, fits, meanwhile); err != nil {
		return err
	}
	o.filled, o.rank = bundle{}, b.rank()
	o.mu.Lock()
	o.stats.UnderWay++
	o.stats.UnderWayBytes += b.bytes
	o.mu.Unlock()
	o.wait.Go(func() { o.ended(b, o.push(b)) })
	return nil
}

// Flush returns when everything sent is in the queue.
func (o *Outlet) Flush(ctx context.Context, meanwhile func()) error {
	if err := o.dispatch(ctx, meanwhile); err != nil {
		return err
	}
	return o.await(ctx, func(s Stats) bool { return s.UnderWay == 0 }, meanwhile)
}

// Close waits for what is under way until ctx ends, and then gives it up: it may be in the queue or not.
func (o *Outlet) Close(ctx context.Context) error {
	stop := context.AfterFunc(ctx, o.end)
	defer stop()
	o.wait.Wait()
	o.end()
	return ctx.Err()
}

// await returns when what is under way allows it.
func (o *Outlet) await(ctx context.Context, ready func(Stats) bool, meanwhile func()) error {
	for {
		meanwhile()
		o.mu.Lock()
		failed, stats := o.failed, o.stats
		o.mu.Unlock()
		switch {
		case failed != nil:
			return failed
		case ready(stats):
			return nil
		}
		select {
		case <-o.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ended takes note that a bundle is under way no more.
func (o *Outlet) ended(b bundle, err error) {
	o.mu.Lock()
	o.stats.UnderWay--
	o.stats.UnderWayBytes -= b.bytes
	if err != nil && o.failed == nil && !errors.Is(err, context.Canceled) {
		o.failed = err
		o.end() // what is under way would only learn the same
	}
	o.mu.Unlock()
	select {
	case o.changed <- struct{}{}:
	default:
	}
}
