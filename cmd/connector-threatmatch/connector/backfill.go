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
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
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
	program  *program
	ordered  chan struct{} // holds a token when there is a new order
	changing chan struct{} // holds a token while an order or a cancel is taken

	mu   sync.Mutex // guards all below
	now  *order
	turn *turn // nil between two runs
	// What it lets go first: another run under way, and the schedule's when it is due.
	other    bool
	schedule time.Time
}

// order is what has become of one order, found at the start or given since; the zero value stands for none.
type order struct {
	whole    state.Backfill // as it was ordered, found at the start, or cancelled
	sum      emit.Account   // of its runs that have ended
	leftOut  pipeline.Tally
	took     time.Duration
	earlier  bool // another process had begun it, of which sum, leftOut and took tell nothing
	failures failures
	again    time.Time // not before
	failure  error     // of the last run
	done     bool      // all of it was delivered
	revoked  bool      // it was cancelled
}

// turn is a run of the backfill. The order for which it began may be followed by another one before it has ended, and has to itself
// what comes of it.
type turn struct {
	of      *order
	told    *story // nil until it has begun
	began   time.Time
	account emit.Account // once it has ended
	leftOut pipeline.Tally
}

func newBackfill(p *program) *backfill {
	return &backfill{program: p, ordered: make(chan struct{}, 1), changing: make(chan struct{}, 1), now: &order{}}
}

// hold keeps orders and cancels away until free is called, while what the keeper has of the backfill and what is known here belong
// together. It waits for the one that is being taken, until ctx ends.
func (b *backfill) hold(ctx context.Context) (free func()) {
	select {
	case b.changing <- struct{}{}:
		return func() { <-b.changing }
	case <-ctx.Done():
		return func() {}
	}
}

// found takes up what an earlier process has left. A connector that stays goes on with it; what a command does is yet to be decided.
func (b *backfill) found() {
	left := b.program.keeper.Backfill()
	if len(left.Datasets) == 0 {
		return
	}
	b.mu.Lock()
	b.now = &order{whole: left, earlier: true}
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
	return b.now.again, true
}

// sources are those of the datasets that are not done.
func (b *backfill) sources() []pipeline.Source {
	p, names := b.program, b.program.keeper.Backfill().Datasets
	var from []pipeline.Source
	for _, name := range append(Datasets(p.cfg), names...) { // in the usual order, and those that are switched off by now
		if slices.Contains(names, name) {
			names = slices.DeleteFunc(names, func(other string) bool { return other == name })
			from = append(from, source(p.api, name, fetch.Options{
				As: state.InBackfill(name), Concurrency: p.cfg.ThreatMatch.Concurrency, Room: fetch.NewRoom(sharesOf(p.cfg).fetched), Log: p.log,
			}))
		}
	}
	return from
}

// Backfill takes an order.
func (b *backfill) Backfill(ctx context.Context, wanted orders.Backfill) (orders.Progress, error) {
	for _, name := range wanted.Datasets {
		if !slices.Contains(AllDatasets, name) {
			return orders.Progress{}, &refusal{fmt.Errorf("there is no dataset %q, but %s", name, strings.Join(AllDatasets, ", "))}
		}
	}
	if len(wanted.Datasets) == 0 {
		wanted.Datasets = Datasets(b.program.cfg)
	}
	defer b.hold(ctx)()
	if err := ctx.Err(); err != nil {
		return b.Progress(), fmt.Errorf("wait for another order to be taken: %w", err)
	}
	before := b.program.keeper.Backfill()
	taken, err := b.program.keeper.OrderBackfill(ctx, wanted.From, wanted.To, wanted.Datasets)
	switch {
	case errors.Is(err, state.ErrOtherBackfill):
		return b.Progress(), &refusal{fmt.Errorf("%w (backfill --cancel)", err)}
	case errors.Is(err, state.ErrNothingToBackfill):
		return b.Progress(), &refusal{err}
	}
	b.mu.Lock()
	if len(before.Datasets) == 0 {
		b.now = &order{whole: taken}
		b.program.plain.Info("a backfill is ordered: " + taken.String())
	} else {
		b.tellGoingOn(taken)
	}
	b.now.again, b.now.failure, b.now.failures = time.Time{}, nil, failures{}
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
	defer b.hold(ctx)()
	if err := ctx.Err(); err != nil {
		return b.Progress(), fmt.Errorf("wait for another order to be taken: %w", err)
	}
	was, err := b.program.keeper.CancelBackfill(ctx)
	b.mu.Lock()
	running := b.isRunning()
	switch {
	case len(was.Datasets) > 0:
		b.now.whole, b.now.revoked, b.now.failure = was, true, nil
	case !running: // else its last run is about to tell what has become of it
		b.now = &order{}
	}
	b.mu.Unlock()
	if len(was.Datasets) > 0 {
		if running {
			b.program.endRunWith(errMakesWay)
		}
		b.program.plain.Info("the backfill is cancelled; what it has brought stays", zap.Stringer("backfill", was))
	}
	return b.Progress(), err
}

// Progress tells what has become of it.
func (b *backfill) Progress() orders.Progress {
	left := b.program.keeper.Backfill()
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.now
	p := orders.Progress{
		Phase: orders.Waiting, From: o.whole.From, To: o.whole.To, Left: left.Datasets,
		Sent: o.sum.Confirmed, Known: o.sum.Known, Earlier: o.earlier, Took: o.took.Seconds(),
	}
	if imported := b.program.imported.Imports(); imported.Expected > 0 {
		shown := status.ImportsOf(imported)
		p.OpenCTI = &shown
	}
	if o.leftOut.Total() > 0 {
		p.LeftOut = o.leftOut.String()
	}
	if o.failure != nil {
		p.Failure = remote.Once(o.failure)
	}
	switch {
	case o.revoked: // its run may not have ended yet
		p.Phase = orders.Cancelled
	case b.isRunning():
		p.Phase, p.Took = orders.Running, p.Took+time.Since(b.turn.began).Seconds()
		b.turn.told.show(&p)
	case o.done:
		p.Phase = orders.Done
	case len(left.Datasets) == 0:
		p.Phase = orders.None
	case o.failure != nil:
		p.WaitsFor = "another try at " + o.again.UTC().Format(time.RFC3339)
	case b.other, b.turn != nil && b.turn.of != o:
		p.WaitsFor = "the end of the run under way"
	case !b.schedule.IsZero() && !time.Now().Before(b.schedule):
		p.WaitsFor = "the scheduled run, which is due"
	}
	return p
}

// isRunning reports whether a run of what was ordered last has begun; mu is held.
func (b *backfill) isRunning() bool {
	return b.turn != nil && b.turn.of == b.now && b.turn.told != nil
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
	b.takesTurn(ctx)
	return b.judge(ctx, b.program.importOnce(ctx, backfills, until))
}

// takesTurn says that a run of it is about to begin.
func (b *backfill) takesTurn(ctx context.Context) {
	defer b.hold(ctx)()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn = &turn{of: b.now}
}

// judge tells what has become of the order by the run that has ended, with an error or nil. It returns the error if that is one.
func (b *backfill) judge(ctx context.Context, err error) error {
	defer b.hold(ctx)()
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.turn.of
	rest, left := b.left()
	o.add(*b.turn)
	b.turn = nil
	o.failure, o.done = nil, false
	switch {
	case errors.Is(err, state.ErrReset), errors.Is(err, state.ErrRestored), errors.Is(err, emit.ErrWorkGone): // the schedule sees to that
	case err != nil && left && ctx.Err() == nil:
		o.failure, o.again = err, time.Now().Add(o.failures.pause())
		b.program.log.Error("the backfill cannot go on for now; it goes on by itself from where it got", zap.Time("again", o.again), zap.Error(err))
	case !left && !o.revoked && len(o.whole.Datasets) > 0:
		o.done, o.failure = true, err
		about := fmt.Sprintf("the backfill is done: %s; %s sent, %s copies delivered before, %s left out, in %s", o.whole,
			words.Counted(o.sum.Confirmed, "object"), words.Grouped(o.sum.Known), words.Grouped(o.leftOut.Total()), words.Duration(o.took))
		if o.earlier {
			about += " since the connector started"
		}
		if err != nil {
			b.program.plain.Error(about+"; what could not be read is tried again by the schedule", zap.Error(err))
			return nil
		}
		b.program.plain.Info(about)
	default:
		o.failures, o.again = failures{}, time.Time{}
		if err == nil && left {
			b.program.plain.Info("the backfill makes way for the scheduled run; left of it: " + rest.String())
		}
	}
	return err
}

// left is what is left of the order of the run under way, which is nothing where it was followed by another one; mu is held.
func (b *backfill) left() (rest state.Backfill, some bool) {
	if b.turn.of == b.now {
		rest = b.program.keeper.Backfill()
	}
	return rest, len(rest.Datasets) > 0
}

// add takes the account of a run that has ended.
func (o *order) add(t turn) {
	if t.told == nil {
		return
	}
	o.took += time.Since(t.began)
	o.sum.Confirmed, o.sum.Known = o.sum.Confirmed+t.account.Confirmed, o.sum.Known+t.account.Known
	for why, n := range t.leftOut {
		o.leftOut = o.leftOut.With(why, n)
	}
}

// madeWay says in words how a run ended that made way.
func (b *backfill) madeWay(ctx context.Context) string {
	defer b.hold(ctx)()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.turn.of.revoked {
		return "cancelled"
	}
	if _, left := b.left(); left {
		return "to be continued"
	}
	return complete
}

// notBefore lets the next run of it wait, also for the schedule's.
func (b *backfill) notBefore(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.again = at
}

// begins says that the run has begun, and reports whether it may go on: its order may have been cancelled while there was no run to
// end.
func (b *backfill) begins(s *story) (wanted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn.told, b.turn.began = s, time.Now()
	return !b.turn.of.revoked
}

// ends takes the run's account, which counts when the run is judged: until then it is shown as the run's.
func (b *backfill) ends(report pipeline.Report, a emit.Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn.account, b.turn.leftOut = a, leftOut(report, a)
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
