package pipeline

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// began is when the passes of the tests begin.
var began = time.Date(2025, 4, 17, 15, 24, 0, 0, time.UTC)

func fresh() Cursor { return Cursor{Since: began.AddDate(0, 0, -7)} }

// at is a cursor within the pass.
func at(after string) Cursor {
	return Cursor{Since: fresh().Since, Pass: &Pass{Started: began, After: after}}
}

// ended is the cursor behind the pass.
func ended() Cursor { return Cursor{Since: began} }

// source is a Source made of a function.
type source struct {
	name string
	read func(ctx context.Context, from Cursor, yield func(Page, error) bool)
}

func (s source) Dataset() string { return s.name }

func (s source) Pages(ctx context.Context, from Cursor) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) { s.read(ctx, from, yield) }
}

// page is one of n items, numbered by the page's own number.
func page(dataset string, number, n int) Page {
	p := Page{Next: at(strconv.Itoa(number))}
	for i := range n {
		p.Items = append(p.Items, Item{Dataset: dataset, ID: strconv.Itoa(number) + "." + strconv.Itoa(i)})
	}
	return p
}

// pages is a source of count pages of one item each and a last one without; between is waited before each.
func pages(dataset string, count int, between time.Duration) source {
	return source{dataset, func(ctx context.Context, _ Cursor, yield func(Page, error) bool) {
		for n := 1; n <= count; n++ {
			if !pause(ctx, between) {
				yield(Page{}, ctx.Err())
				return
			}
			if !yield(page(dataset, n, 1), nil) {
				return
			}
		}
		yield(Page{Next: ended()}, nil)
	}}
}

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// sink is a Sink that delivers at once, except where a function stands in.
type sink struct {
	put    func(ctx context.Context, item Item, objects []Object, settled func(Outcome)) error
	tick   func(ctx context.Context) error
	hurry  func(ctx context.Context) error
	finish func(ctx context.Context, end End) error
	carry  func(ctx context.Context, dataset string, settled func(Outcome)) error
}

func (s sink) Put(ctx context.Context, item Item, objects []Object, settled func(Outcome)) error {
	if s.put != nil {
		return s.put(ctx, item, objects, settled)
	}
	settled(Delivered)
	return nil
}

func (s sink) Tick(ctx context.Context) error {
	if s.tick != nil {
		return s.tick(ctx)
	}
	return nil
}

func (s sink) Hurry(ctx context.Context) error {
	if s.hurry != nil {
		return s.hurry(ctx)
	}
	return nil
}

func (s sink) Finish(ctx context.Context, end End) error {
	if s.finish != nil {
		return s.finish(ctx, end)
	}
	return nil
}

func (s sink) Carry(ctx context.Context, dataset string, settled func(Outcome)) error {
	if s.carry != nil {
		return s.carry(ctx, dataset, settled)
	}
	settled(Delivered)
	return nil
}

type commit struct {
	when    time.Time
	cursors map[string]Cursor
}

// store is a Checkpoint that remembers what was committed.
type store struct {
	start  map[string]Cursor
	before func(ctx context.Context, cursors map[string]Cursor) error // a commit is stored

	mu      sync.Mutex
	commits []commit
}

func (s *store) Cursor(dataset string) Cursor {
	if c, found := s.start[dataset]; found {
		return c
	}
	return fresh()
}

func (s *store) Commit(ctx context.Context, cursors map[string]Cursor) error {
	if s.before != nil {
		if err := s.before(ctx, cursors); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits = append(s.commits, commit{time.Now(), cursors})
	return nil
}

// last is what was committed last of a dataset, the fresh cursor when nothing was.
func (s *store) last(dataset string) Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.commits) - 1; i >= 0; i-- {
		if c, found := s.commits[i].cursors[dataset]; found {
			return c
		}
	}
	return fresh()
}

func (s *store) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.commits)
}

// plain makes no objects and no mistakes.
type plain struct{}

func (plain) Transform(context.Context, Item) ([]Object, error) { return nil, nil }

// hanging makes nothing until it is told to stop.
type hanging struct{}

func (hanging) Transform(ctx context.Context, _ Item) ([]Object, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

type transformer func(Item) ([]Object, error)

func (f transformer) Transform(_ context.Context, i Item) ([]Object, error) { return f(i) }

// after is the position of a cursor: "" before the first page, "end" behind the pass.
func after(c Cursor) string {
	switch {
	case c.Pass != nil:
		return c.Pass.After
	case c.Since.Equal(began):
		return "end"
	}
	return ""
}
