package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Config says how a run is laid out. Zero values stand for the defaults of [Config.withDefaults].
type Config struct {
	// Transformers is the number of items transformed at a time.
	Transformers int
	// OpenPages bounds the pages of one dataset that are fetched and neither kept nor delivered.
	OpenPages int
	// CommitEvery is the least time between two commits of a run under way.
	CommitEvery time.Duration
	// TickEvery is how often the sink is told that time passes.
	TickEvery time.Duration
	// Payload bounds the bytes of the items that are taken from their sources and neither parked nor delivered, of all
	// datasets together. An item that is larger passes alone.
	Payload int64
	// Grace is how long a run that was told to stop may take to settle what is under way. To commit it takes what is left
	// of that, and a quarter more.
	Grace time.Duration
	// Observer is told how the run gets on; nil for nobody.
	Observer Observer
	// Meter can be read while the run is under way; nil for nobody.
	Meter *Meter
	// Log receives a line for each part of a dataset that was not imported, and for the first [MaxNamed] things that are left
	// out for a reason; nil for none.
	Log *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.Transformers <= 0 {
		c.Transformers = 2 // one more than the emitter can feed on a small container, so that it never waits
	}
	if c.OpenPages <= 0 {
		c.OpenPages = 32 // three batches of indicators: enough to keep the broker busy, little to fetch again
	}
	if c.CommitEvery <= 0 {
		c.CommitEvery = 3 * time.Second // what a crash costs, against one request to the platform
	}
	if c.TickEvery <= 0 {
		c.TickEvery = 250 * time.Millisecond // an eighth of the age at which a batch is sent
	}
	if c.Payload <= 0 {
		c.Payload = 32 << 20 // four batches; each byte is there about three times on its way
	}
	if c.Grace <= 0 {
		c.Grace = 4 * time.Second // containers are killed after ten; the last commit and the closing of the work want some too
	}
	if c.Observer == nil {
		c.Observer = silent{}
	}
	if c.Meter == nil {
		c.Meter = new(Meter)
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

type silent struct{}

func (silent) Page(string, int, Position) {}
func (silent) Done(string, error)         {}

// Report is what became of a run.
type Report struct {
	Datasets map[string]*DatasetReport
	// LeftOut counts what the transformer left out.
	LeftOut Tally
	// Err is what ended the run before its datasets came to their end, nil otherwise.
	Err error
}

// DatasetReport is what became of one dataset.
type DatasetReport struct {
	Pages, Items int
	// Rejected counts items and objects that the transformer left out.
	Rejected int
	// Problems counts what the source could not read.
	Problems int
	// FirstProblem is one of them, to be shown.
	FirstProblem error
	// Err is what ended the dataset before its end.
	Err error
}

// Failure is nil when everything that the sources hold was delivered, else what to say about it.
func (r Report) Failure() error {
	errs := []error{r.Err}
	for _, name := range slices.Sorted(maps.Keys(r.Datasets)) {
		d := r.Datasets[name]
		stopped := r.Err != nil && errors.Is(d.Err, context.Canceled) // which Err explains
		if d.Err != nil && !stopped {
			errs = append(errs, fmt.Errorf("import %s: %w", name, d.Err))
		}
		if d.Problems > 0 {
			errs = append(errs, fmt.Errorf("import %s: %s not imported (the next run tries again what can be), such as: %w", name, parts(d.Problems), d.FirstProblem))
		}
	}
	return errors.Join(errs...)
}

func parts(n int) string {
	if n == 1 {
		return "1 part was"
	}
	return fmt.Sprintf("%d parts were", n)
}

// importRun is the state of one call of Run.
type importRun struct {
	cfg         Config
	transformer Transformer
	sink        Sink
	ledger      *ledger
	payload     *payload
	items       chan openItem
	transformed chan transformedItem
	passed      passed
	interrupted bool // ctx ended before the sources did

	mu     sync.Mutex // guards report
	report Report
}

type openItem struct {
	item    Item
	settled func(Outcome)
}

type transformedItem struct {
	item    Item
	objects []Object
	settled func(Outcome)
}

// Run imports the sources side by side and returns when all that was fetched is settled and committed. When ctx ends it
// stops fetching, settles and commits what is under way as far as cfg.Grace allows; when ctx was cancelled with a cause
// that wraps [ErrAbandon] it commits nothing more. A source that fails ends alone.
func Run(ctx context.Context, cfg Config, sources []Source, t Transformer, sink Sink, checkpoint Checkpoint) Report {
	cfg = cfg.withDefaults()
	start := make(map[string]Cursor, len(sources))
	r := &importRun{
		cfg: cfg, transformer: t, sink: sink, payload: newPayload(cfg.Payload),
		// One page's worth of items for each stage: what is in a channel is fetched again after a crash.
		items:       make(chan openItem, 64),
		transformed: make(chan transformedItem, 64),
		report:      Report{Datasets: make(map[string]*DatasetReport, len(sources)), LeftOut: Tally{}},
	}
	for _, s := range sources {
		start[s.Dataset()] = checkpoint.Cursor(s.Dataset())
		r.report.Datasets[s.Dataset()] = &DatasetReport{}
	}
	r.ledger = newLedger(cfg.OpenPages, start)
	cfg.Meter.begin(r)
	defer cfg.Meter.end()
	commits := &committer{ledger: r.ledger, checkpoint: checkpoint, every: cfg.CommitEvery, log: cfg.Log}

	settleCtx, abort := outlive(ctx, cfg.Grace, "settle what is under way")
	defer abort(nil)
	// The last commit has the time that settling did not need, and a moment of its own.
	restCtx, endRest := outlive(ctx, cfg.Grace+cfg.Grace/4, committing)
	defer func() { endRest(nil) }()
	commitCtx, endCommit := context.WithCancel(settleCtx)
	defer endCommit()
	committerDone := make(chan struct{})
	stopCommitter := make(chan struct{})
	go func() {
		defer close(committerDone)
		commits.whileRunning(commitCtx, stopCommitter)
	}()

	err := r.stages(ctx, settleCtx, abort, sources)
	close(stopCommitter)
	limit := time.AfterFunc(lastCommit, endCommit)
	<-committerDone
	limit.Stop()
	if cause := context.Cause(ctx); errors.Is(cause, ErrAbandon) {
		err = cause
	}
	if !errors.Is(err, ErrAbandon) {
		if restCtx.Err() != nil { // settling has taken what was left, too
			endRest(nil)
			restCtx, endRest = outlive(ctx, cfg.Grace/4, committing)
		}
		err = errors.Join(err, commits.rest(restCtx))
	}
	if err == nil && r.interrupted {
		err = fmt.Errorf("stop the run: %w", context.Cause(ctx))
	}
	r.report.Err = err
	return r.report
}

// committing is what the last commit does, for the error that ends it.
const committing = "commit what was delivered"

// outlive returns the context of what comes after fetching: it outlives ctx by the grace, but not when the run is void.
func outlive(ctx context.Context, grace time.Duration, what string) (context.Context, context.CancelCauseFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if errors.Is(cause, ErrAbandon) {
			cancel(cause)
			return
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(fmt.Errorf("%s within %s: %w", what, grace, cause))
		case <-longer.Done():
		}
	})
	return longer, func(cause error) { stop(); cancel(cause) }
}

// stages runs the fetchers, the transformers and the emitter to their end.
func (r *importRun) stages(ctx, settleCtx context.Context, abort context.CancelCauseFunc, sources []Source) error {
	if err := r.carry(settleCtx); err != nil {
		return err
	}
	fetchCtx, stopFetching := context.WithCancel(ctx)
	defer stopFetching()
	var fetchers, transformers errgroup.Group
	for _, s := range sources {
		fetchers.Go(func() error { r.fetch(fetchCtx, settleCtx, s); return nil })
	}
	for range r.cfg.Transformers {
		transformers.Go(func() error { r.transform(settleCtx); return nil })
	}
	emitted := make(chan error, 1)
	go func() {
		err := r.emit(settleCtx)
		if err != nil {
			abort(err) // frees whoever waits for the emitter
			stopFetching()
		}
		emitted <- err
	}()

	_ = fetchers.Wait()
	close(r.items)
	_ = transformers.Wait()
	close(r.transformed)
	if err := <-emitted; err != nil {
		return err
	}
	return r.finish(ctx, settleCtx)
}

// carry lets the sink take up what earlier runs have kept.
func (r *importRun) carry(ctx context.Context) error {
	for name, settled := range r.ledger.carried() {
		if err := r.sink.Carry(ctx, name, settled); err != nil {
			return fmt.Errorf("take up what waits of %s: %w", name, err)
		}
	}
	return nil
}

// finish lets the sink settle what it holds.
func (r *importRun) finish(ctx, settleCtx context.Context) error {
	end := Complete
	for _, d := range r.report.Datasets {
		if d.Err != nil || d.Problems > 0 {
			end = Partial
		}
	}
	if ctx.Err() != nil {
		end, r.interrupted = Interrupted, true
	}
	if err := r.sink.Finish(settleCtx, end); err != nil {
		return fmt.Errorf("finish delivery: %w", err)
	}
	return nil
}

// fetch pulls the pages of one source.
func (r *importRun) fetch(ctx, settleCtx context.Context, s Source) {
	name := s.Dataset()
	err := r.pull(ctx, settleCtx, s)
	r.mu.Lock()
	r.report.Datasets[name].Err = err
	r.mu.Unlock()
	r.cfg.Observer.Done(name, err)
}

func (r *importRun) pull(ctx, settleCtx context.Context, s Source) error {
	name := s.Dataset()
	for page, err := range s.Pages(ctx, r.ledger.start(name)) {
		if err != nil {
			return err
		}
		r.countPage(name, page)
		// A run that was told to stop hands on what it has fetched, so that the next one need not fetch it again.
		entry, err := r.ledger.open(settleCtx, name, page)
		if err != nil {
			return err
		}
		for i, item := range page.Items {
			t := r.ledger.ticket(name, entry)
			if err := r.payload.admit(settleCtx, item, t); err != nil {
				return err
			}
			select {
			case r.items <- openItem{item, t.settle}:
				r.passed.fetched.Add(1)
				page.Items[i].Data = nil // else the page would hold it until its last item has gone
			case <-settleCtx.Done():
				return context.Cause(settleCtx)
			}
		}
		r.cfg.Observer.Page(name, len(page.Items), page.At)
	}
	return nil
}

func (r *importRun) countPage(dataset string, page Page) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.report.Datasets[dataset]
	d.Pages++
	d.Items += len(page.Items)
	for _, p := range page.Problems {
		d.Problems++
		if d.FirstProblem == nil {
			d.FirstProblem = p.Err
		}
		r.cfg.Log.Warn("a part of a dataset was not imported", zap.String("dataset", dataset), zap.String("item", p.ID), zap.Error(p.Err))
	}
}

// transform turns items into objects until there are no more.
func (r *importRun) transform(ctx context.Context) {
	for open := range r.items {
		var objects []Object
		var err error
		if broken := Catch(func() { objects, err = r.transformer.Transform(ctx, open.item) }); broken != nil {
			objects, err = nil, broken
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.leave(open.item, err)
		}
		r.payload.learn(len(open.item.Data), objects)
		open.item.Data = nil // the objects hold what is left of it
		select {
		case r.transformed <- transformedItem{open.item, objects, open.settled}:
			r.passed.transformed.Add(1)
			r.passed.objects.Add(int64(wanted(objects)))
		case <-ctx.Done():
			return
		}
	}
}

// wanted counts the objects that no filter leaves out.
func wanted(objects []Object) (n int) {
	for _, o := range objects {
		if o.Filtered == Wanted {
			n++
		}
	}
	return n
}

// emit feeds the sink until there are no more items.
func (r *importRun) emit(ctx context.Context) error {
	ticker := time.NewTicker(r.cfg.TickEvery)
	defer ticker.Stop()
	for {
		select {
		case t, more := <-r.transformed:
			if !more {
				return nil
			}
			if err := r.sink.Put(ctx, t.item, t.objects, t.settled); err != nil {
				return fmt.Errorf("deliver %s item %s: %w", t.item.Dataset, t.item.ID, err)
			}
			r.passed.emitted.Add(1)
		case <-ticker.C:
			if err := r.sink.Tick(ctx); err != nil {
				return fmt.Errorf("deliver a batch: %w", err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if r.payload.isWanted() && len(r.transformed) == 0 {
			if err := r.sink.Hurry(ctx); err != nil {
				return fmt.Errorf("deliver a batch: %w", err)
			}
		}
	}
}
