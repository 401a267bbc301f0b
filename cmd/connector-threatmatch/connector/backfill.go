package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state"
)

// errMakesWay is why a run of the backfill ends early without having failed: for one of the schedule, or because the backfill was
// cancelled.
var errMakesWay = errors.New("the backfill makes way")

// leastTurn is how long a run of the backfill goes on though one of the schedule is due: each opens a work at OpenCTI, and a
// schedule of a minute would make hundreds of them.
const leastTurn = 10 * time.Minute

// backfill is what the connector knows of an ordered import of an older window. Its runs come between those of the schedule.
type backfill struct {
	program *program
	ordered chan struct{} // holds a token when there is a new order

	mu       sync.Mutex     // guards all below
	whole    state.Backfill // as it was ordered, found at the start, or cancelled
	sum      emit.Account   // of its runs that have ended
	leftOut  pipeline.Tally
	took     time.Duration
	earlier  bool   // another process had begun it, of which sum, leftOut and took tell nothing
	running  *story // nil between two runs
	began    time.Time
	failures failures
	again    time.Time // not before
	failure  error     // of the last run
	done     bool      // all of it was delivered
	revoked  bool      // it was cancelled
	// What it lets go first: another run under way, and the schedule's when it is due.
	other    bool
	schedule time.Time
}

func newBackfill(p *program) *backfill {
	return &backfill{program: p, ordered: make(chan struct{}, 1), leftOut: pipeline.Tally{}}
}

// found takes up what an earlier process has left. A connector that stays goes on with it; what a command does is yet to be decided.
func (b *backfill) found() {
	left := b.program.keeper.Backfill()
	if len(left.Datasets) == 0 {
		return
	}
	b.mu.Lock()
	b.whole, b.earlier = left, true
	b.mu.Unlock()
	if !b.program.alone {
		b.tellGoingOn(left)
	}
}

func (b *backfill) tellGoingOn(left state.Backfill) {
	b.program.plain.Info("going on with the backfill of " + left.String())
}

// due reports when the next run of the backfill may begin, and whether there is one.
func (b *backfill) due() (at time.Time, ordered bool) {
	if len(b.program.keeper.Backfill().Datasets) == 0 {
		return time.Time{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.again, true
}

// sources are those of the datasets that are not done.
func (b *backfill) sources() []pipeline.Source {
	p, names := b.program, b.program.keeper.Backfill().Datasets
	var from []pipeline.Source
	for _, name := range append(Datasets(p.cfg), names...) { // in the usual order, and those that are switched off by now
		if slices.Contains(names, name) {
			names = slices.DeleteFunc(names, func(other string) bool { return other == name })
			from = append(from, source(p.api, name, fetch.Options{
				As: state.InBackfill(name), Concurrency: p.cfg.ThreatMatch.Concurrency, Room: fetch.NewRoom(sharesOf(p.cfg).fetched),
			}))
		}
	}
	return from
}

// Backfill takes an order.
func (b *backfill) Backfill(ctx context.Context, order orders.Backfill) (orders.Progress, error) {
	for _, name := range order.Datasets {
		if !slices.Contains(AllDatasets, name) {
			return orders.Progress{}, &refusal{fmt.Errorf("there is no dataset %q, but %s", name, strings.Join(AllDatasets, ", "))}
		}
	}
	if len(order.Datasets) == 0 {
		order.Datasets = Datasets(b.program.cfg)
	}
	before := b.program.keeper.Backfill()
	taken, err := b.program.keeper.OrderBackfill(ctx, order.From, order.To, order.Datasets)
	switch {
	case errors.Is(err, state.ErrOtherBackfill):
		return b.Progress(), &refusal{fmt.Errorf("%w (backfill --cancel)", err)}
	case errors.Is(err, state.ErrNothingToBackfill):
		return b.Progress(), &refusal{err}
	}
	b.mu.Lock()
	if len(before.Datasets) == 0 {
		b.whole, b.sum, b.leftOut, b.took = taken, emit.Account{}, pipeline.Tally{}, 0
		b.earlier, b.done, b.revoked = false, false, false
		b.program.plain.Info("a backfill is ordered: " + taken.String())
	} else {
		b.tellGoingOn(taken)
	}
	b.again, b.failure, b.failures = time.Time{}, nil, failures{}
	b.mu.Unlock()
	select {
	case b.ordered <- struct{}{}:
	default:
	}
	if err != nil {
		return b.Progress(), fmt.Errorf("the order is taken, but OpenCTI does not hold it yet: %w", err)
	}
	return b.Progress(), nil
}

// refusal is an [orders.ErrRefused] that says only why.
type refusal struct{ error }

// Is lets errors.Is find what it is.
func (r *refusal) Is(target error) bool { return target == orders.ErrRefused }

// Unwrap returns why.
func (r *refusal) Unwrap() error { return r.error }

// Cancel ends the backfill under way.
func (b *backfill) Cancel(ctx context.Context) (orders.Progress, error) {
	was, err := b.program.keeper.CancelBackfill(ctx)
	b.mu.Lock()
	running := b.running != nil
	b.whole, b.done, b.revoked, b.failure = was, false, len(was.Datasets) > 0, nil
	b.mu.Unlock()
	if running {
		b.program.endRunWith(errMakesWay)
	}
	if len(was.Datasets) > 0 {
		b.program.plain.Info("the backfill is cancelled; what it has brought stays", zap.Stringer("backfill", was))
	}
	return b.Progress(), err
}

// Progress tells what has become of it.
func (b *backfill) Progress() orders.Progress {
	left := b.program.keeper.Backfill()
	b.mu.Lock()
	defer b.mu.Unlock()
	p := orders.Progress{Phase: orders.Waiting, From: b.whole.From, To: b.whole.To, Left: left.Datasets, Sent: b.sum.Confirmed, Known: b.sum.Known, Earlier: b.earlier, Took: b.took.Seconds()}
	if b.leftOut.Total() > 0 {
		p.LeftOut = b.leftOut.String()
	}
	if b.failure != nil {
		p.Failure = remote.Once(b.failure)
	}
	switch {
	case b.revoked: // its run may not have ended yet
		p.Phase = orders.Cancelled
	case b.running != nil:
		p.Phase, p.Took = orders.Running, p.Took+time.Since(b.began).Seconds()
		b.running.show(&p)
	case b.done:
		p.Phase = orders.Done
	case len(left.Datasets) == 0:
		p.Phase = orders.None
	case b.failure != nil:
		p.WaitsFor = "another try at " + b.again.UTC().Format(time.RFC3339)
	case b.other:
		p.WaitsFor = "the end of the run under way"
	case !b.schedule.IsZero() && !time.Now().Before(b.schedule):
		p.WaitsFor = "the scheduled run, which is due"
	}
	return p
}

// scheduledAt takes note of when the schedule's next run is due.
func (b *backfill) scheduledAt(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.schedule = at
}

// letsGoFirst takes note of another run under way.
func (b *backfill) letsGoFirst(other bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.other = other
}

// showUntil shows it every second until quit is closed.
func (b *backfill) showUntil(quit <-chan struct{}, show func(orders.Progress)) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			show(b.Progress())
		case <-quit:
			return
		}
	}
}

// run imports what is left, until it is done or makes way. The error says why it failed.
func (b *backfill) run(ctx context.Context, until time.Time) error {
	err := b.program.importOnce(ctx, backfills, until)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failure, b.done = nil, false
	rest := b.program.keeper.Backfill()
	left := len(rest.Datasets) > 0
	switch {
	case errors.Is(err, state.ErrReset), errors.Is(err, state.ErrRestored), errors.Is(err, emit.ErrWorkGone): // the schedule sees to that
	case err != nil && left && ctx.Err() == nil:
		b.failure, b.again = err, time.Now().Add(b.failures.pause())
		b.program.log.Error("the backfill cannot go on for now; it goes on by itself from where it got", zap.Time("again", b.again), zap.Error(err))
	case !left && !b.revoked && len(b.whole.Datasets) > 0:
		b.done, b.failure = true, err
		about := fmt.Sprintf("the backfill is done: %s; %s sent, %s copies delivered before, %s left out, in %s", b.whole,
			counted(b.sum.Confirmed, "object"), grouped(b.sum.Known), grouped(b.leftOut.Total()), inWords(b.took))
		if b.earlier {
			about += " since the connector started"
		}
		if err != nil {
			b.program.plain.Error(about+"; what could not be read is tried again by the schedule", zap.Error(err))
			return nil
		}
		b.program.plain.Info(about)
	default:
		b.failures, b.again = failures{}, time.Time{}
		if err == nil && left {
			b.program.plain.Info("the backfill makes way for the scheduled run; left of it: " + rest.String())
		}
	}
	return err
}

// notBefore lets the next run of it wait, also for the schedule's.
func (b *backfill) notBefore(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = at
}

// begins says that a run of it has begun.
func (b *backfill) begins(s *story) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running, b.began = s, time.Now()
}

// ends takes the run's account.
func (b *backfill) ends(report pipeline.Report, a emit.Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.took += time.Since(b.began)
	b.running = nil
	b.sum.Confirmed, b.sum.Known = b.sum.Confirmed+a.Confirmed, b.sum.Known+a.Known
	for why, n := range leftOut(report, a) {
		b.leftOut = b.leftOut.With(why, n)
	}
}

// withoutWay takes out of a report what making way has ended.
func withoutWay(report pipeline.Report) pipeline.Report {
	if !errors.Is(report.Err, errMakesWay) {
		return report
	}
	var rest []error
	for _, part := range parts(report.Err) {
		if !errors.Is(part, errMakesWay) {
			rest = append(rest, part)
		}
	}
	report.Err = errors.Join(rest...)
	for _, d := range report.Datasets {
		if errors.Is(d.Err, context.Canceled) || errors.Is(d.Err, errMakesWay) {
			d.Err = nil
		}
	}
	return report
}
