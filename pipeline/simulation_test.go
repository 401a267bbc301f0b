package pipeline

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var simulated = flag.Uint64("seed", 0, "run this seed of the simulation only")

// world is everything around the pipeline: what the sources hold, what arrived, and what outlives a run.
type world struct {
	mu        sync.Mutex
	rand      *rand.Rand
	calm      bool // no more faults
	items     map[string]int
	delivered map[string]map[int]bool // by dataset
	disk      map[string]map[int]bool // kept, not delivered
	cursors   map[string]Cursor       // committed
	void      bool                    // nothing may be committed now
	wrong     []string
}

func newWorld(seed uint64) *world {
	w := &world{
		rand: rand.New(rand.NewPCG(seed, 1)), items: map[string]int{}, delivered: map[string]map[int]bool{},
		disk: map[string]map[int]bool{}, cursors: map[string]Cursor{},
	}
	for _, name := range []string{"alerts", "iocs", "profiles"}[:1+w.rand.IntN(3)] {
		w.items[name] = w.rand.IntN(120)
		w.delivered[name], w.disk[name] = map[int]bool{}, map[int]bool{}
		w.cursors[name] = fresh()
	}
	return w
}

// chance is true once in n times, never when the world is calm.
func (w *world) chance(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.calm && w.rand.IntN(n) == 0
}

func (w *world) upTo(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rand.IntN(n + 1)
}

func (w *world) delay(most time.Duration) time.Duration {
	return time.Duration(w.upTo(int(most/time.Millisecond))) * time.Millisecond
}

func (w *world) complain(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// check holds a cursor that is being committed against what has arrived; w.mu is held.
func (w *world) check(name string, c Cursor) {
	claimed, settled := 0, 0
	switch {
	case c.Pass != nil:
		claimed, _ = strconv.Atoi(c.Pass.After)
		settled = claimed
		if c.Pass.KeptFrom != nil {
			settled, _ = strconv.Atoi(*c.Pass.KeptFrom)
		}
		if !c.Since.Equal(fresh().Since) {
			claimed, settled = w.items[name], w.items[name]
		}
	case !c.Since.Equal(fresh().Since):
		claimed, settled = w.items[name], w.items[name]
	}
	for i := 1; i <= claimed; i++ {
		failed := slices.Contains(c.Failed, strconv.Itoa(i))
		switch {
		case failed || w.delivered[name][i]:
		case i <= settled && (c.Pass == nil || c.Pass.KeptFrom == nil):
			w.complain("%s item %d is claimed as delivered by %s", name, i, show(c))
		case i <= settled:
			w.complain("%s item %d lies before what is kept in %s, and is not delivered", name, i, show(c))
		case !w.disk[name][i]:
			w.complain("%s item %d is neither delivered nor kept, but behind %s", name, i, show(c))
		}
	}
}

func (w *world) Cursor(name string) Cursor { return w.cursors[name] }

func (w *world) Commit(ctx context.Context, cursors map[string]Cursor) error {
	if !pause(ctx, w.delay(4*time.Second)) {
		return context.Cause(ctx)
	}
	if w.chance(5) {
		return errBroken
	}
	if w.chance(40) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.void {
		return ErrAbandon
	}
	for name, c := range cursors {
		w.check(name, c)
		w.cursors[name] = c
	}
	return nil
}

// walk is one dataset of the world as a source.
type walk struct {
	*world
	name string
}

func (s walk) sources() Source {
	return source{s.name, func(ctx context.Context, from Cursor, yield func(Page, error) bool) {
		if err := s.read(ctx, from, yield); err != nil {
			yield(Page{}, err)
		}
	}}
}

// read walks like the real sources: failed items first, then those after the position, then the end of the pass.
func (s walk) read(ctx context.Context, from Cursor, yield func(Page, error) bool) error {
	next := Cursor{Since: from.Since, Pass: &Pass{Started: began}}
	if from.Pass != nil {
		*next.Pass = *from.Pass
	} else if !from.Since.Equal(fresh().Since) {
		next.Pass.Started = from.Since.Add(time.Hour)
	}
	failed := slices.Clone(from.Failed)
	hand := func(p Page) bool {
		p.Next = next
		if next.Pass != nil {
			pass := *next.Pass
			p.Next.Pass = &pass
		}
		p.Next.Failed = slices.Clone(failed)
		return yield(p, nil)
	}
	fetch := func(p *Page, id string) {
		failed = slices.DeleteFunc(failed, func(f string) bool { return f == id })
		if s.chance(15) {
			failed = append(failed, id)
			p.Problems = append(p.Problems, Problem{ID: id, Err: errBroken})
			return
		}
		p.Items = append(p.Items, Item{Dataset: s.name, ID: id})
	}
	for _, id := range from.Failed {
		var p Page
		if fetch(&p, id); !hand(p) {
			return nil
		}
	}
	last := s.items[s.name]
	if !from.Since.Equal(fresh().Since) {
		last = 0 // nothing has changed since
	}
	position, _ := strconv.Atoi(next.Pass.After)
	for position < last {
		if !pause(ctx, s.delay(800*time.Millisecond)) {
			return fmt.Errorf("read: %w", ctx.Err())
		}
		if s.chance(40) {
			return errBroken
		}
		var p Page
		for n := s.upTo(8); n > 0 && position < last; n-- {
			position++
			fetch(&p, strconv.Itoa(position))
		}
		next.Pass.After = strconv.Itoa(position)
		if !hand(p) {
			return nil
		}
	}
	next = Cursor{Since: next.Pass.Started}
	hand(Page{})
	return nil
}

// exit is the sink of one run.
type exit struct {
	*world
	ctx     context.Context // of the run's confirms
	moving  sync.WaitGroup
	waiting []func() // what is held until the end; w.mu is held
}

func (x *exit) deliver(dataset string, id int, settled func(Outcome)) {
	x.mu.Lock()
	x.delivered[dataset][id] = true
	delete(x.disk[dataset], id)
	x.mu.Unlock()
	settled(Delivered)
}

func (x *exit) Put(ctx context.Context, item Item, _ []Object, settled func(Outcome)) error {
	if !pause(ctx, x.delay(20*time.Millisecond)) {
		return context.Cause(ctx)
	}
	if x.chance(400) {
		return errBroken
	}
	id, _ := strconv.Atoi(item.ID)
	if !x.chance(4) {
		x.later(2*time.Second, func() { x.deliver(item.Dataset, id, settled) })
		return nil
	}
	settled(Parked)
	hold := func() {
		x.mu.Lock()
		x.waiting = append(x.waiting, func() { x.deliver(item.Dataset, id, settled) })
		x.mu.Unlock()
	}
	x.later(3*time.Second, func() {
		x.mu.Lock()
		x.disk[item.Dataset][id] = true
		x.mu.Unlock()
		settled(Kept)
		if x.chance(2) {
			x.later(5*time.Second, func() { x.deliver(item.Dataset, id, settled) })
			return
		}
		hold()
	})
	return nil
}

// later does something within the time given, unless the broker never confirms it.
func (x *exit) later(most time.Duration, do func()) {
	d := x.delay(most)
	x.moving.Go(func() {
		if pause(x.ctx, d) {
			do()
		}
	})
}

func (x *exit) Hurry(context.Context) error { return nil }

func (x *exit) Tick(context.Context) error {
	if x.chance(600) {
		return errBroken
	}
	return nil
}

func (x *exit) Finish(ctx context.Context, end End) error {
	if x.chance(10) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	done := make(chan struct{})
	go func() { x.moving.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if end != Complete {
		return nil
	}
	x.mu.Lock()
	waiting := x.waiting
	x.waiting = nil
	x.mu.Unlock()
	for _, release := range waiting {
		release()
	}
	return nil
}

func (x *exit) Carry(_ context.Context, dataset string, settled func(Outcome)) error {
	if x.chance(30) {
		return errBroken
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	ids := slices.Sorted(maps.Keys(x.disk[dataset]))
	x.waiting = append(x.waiting, func() {
		for _, id := range ids {
			x.deliver(dataset, id, func(Outcome) {})
		}
		settled(Delivered)
	})
	return nil
}

// runOnce runs the world's datasets, perhaps stopped or made void in the middle, and returns the report and how long
// the run went on after it was stopped.
func (w *world) runOnce(t *testing.T) (report Report, late time.Duration) {
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	var stopped time.Time
	cause, when := errors.New("received a signal"), 10*time.Minute // somebody loses patience with what hangs
	if w.chance(2) {
		when = w.delay(30 * time.Second)
		if w.chance(2) {
			cause = ErrAbandon // stands for a crash, too: what is committed is all that there is
		}
	}
	timer := time.AfterFunc(when, func() {
		w.mu.Lock()
		w.void = errors.Is(cause, ErrAbandon)
		w.mu.Unlock()
		stopped = time.Now()
		stop(cause)
	})
	defer timer.Stop()
	confirms, end := context.WithCancel(context.Background())
	to := &exit{world: w, ctx: confirms}
	var sources []Source
	for _, name := range slices.Sorted(maps.Keys(w.items)) {
		sources = append(sources, walk{w, name}.sources())
	}
	cfg := Config{OpenPages: 1 + w.upTo(10), Transformers: 1 + w.upTo(3), CommitEvery: time.Duration(1+w.upTo(5)) * time.Second}
	report = Run(ctx, cfg, sources, plain{}, to, w)
	if !stopped.IsZero() {
		late = time.Since(stopped)
	}
	end()
	to.moving.Wait()
	w.mu.Lock()
	w.void = false
	w.mu.Unlock()
	return report, late
}

// loseDisk is what the state does when the disk was lost: each pass goes back to where nothing waited.
func (w *world) loseDisk() {
	for name, c := range w.cursors {
		clear(w.disk[name])
		if c.Pass != nil && c.Pass.KeptFrom != nil {
			pass := *c.Pass
			pass.After, pass.KeptFrom = *pass.KeptFrom, nil
			c.Pass = &pass
			w.cursors[name] = c
		}
	}
}

// Whatever fails in whatever order: no cursor claims what has not arrived, every run ends, and the runs after it make
// everything good.
func TestNothingIsLostWhateverFails(t *testing.T) {
	first, last := uint64(1), uint64(400)
	if testing.Short() {
		last = 60
	}
	if *simulated > 0 {
		first, last = *simulated, *simulated
	}
	for seed := first; seed <= last && !t.Failed(); seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(seed)
				for run := 0; ; run++ {
					w.calm = run > 8
					begin := time.Now()
					report, late := w.runOnce(t)
					if late > 7*time.Second {
						t.Errorf("run %d went on for %s after it was stopped", run, late)
					}
					if took := time.Since(begin); took > 20*time.Minute {
						t.Errorf("run %d took %s", run, took)
					}
					if report.Failure() == nil {
						w.complete(run)
						if w.calm || run > 4 {
							break
						}
					} else if w.calm && run > 10 {
						t.Errorf("a run without faults fails: %v", report.Failure())
						break
					}
					if w.chance(4) {
						w.loseDisk()
					}
				}
				for _, what := range w.wrong[:min(5, len(w.wrong))] {
					t.Error(what)
				}
			})
		})
	}
}

// complete checks that a run that did not fail has left nothing to do.
func (w *world) complete(run int) {
	for name, n := range w.items {
		for i := 1; i <= n; i++ {
			if !w.delivered[name][i] {
				w.complain("run %d ended well without %s item %d", run, name, i)
			}
		}
		if c := w.cursors[name]; c.Pass != nil || len(c.Failed) > 0 || cmp.Compare(c.Since.Unix(), fresh().Since.Unix()) == 0 {
			w.complain("run %d ended well and left %s at %s", run, name, show(c))
		}
	}
}
