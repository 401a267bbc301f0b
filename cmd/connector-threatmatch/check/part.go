package check

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// stepLimit bounds one check: a remote that takes longer is not fit for a run either.
const stepLimit = 6 * time.Second

// part is one thing that is looked at by checks that build on each other. Lines keep the order in which they were begun.
type part struct {
	name   string
	broken string // why later checks cannot be tried, "" as long as they can
	lines  []*Finding
}

// notTried begins the detail of a check that another one made futile.
const notTried = "not tried: "

// step is a check: what it saw, what to mind about it, and why it failed. A [*fault] brings its remedy along.
type step func(context.Context) (seen, mind string, err error)

// line begins a line.
func (p *part) line(name string) *Finding {
	f := &Finding{Part: p.name, Check: name, Status: Untried}
	p.lines = append(p.lines, f)
	return f
}

// must does a check without which the later ones cannot be tried.
func (p *part) must(ctx context.Context, name string, do step) {
	f := p.line(name)
	switch {
	case p.fill(ctx, f, do) || p.broken != "":
	case f.Status == Untried:
		p.broken = name + " is not known"
	default:
		p.broken = name + " failed"
	}
}

// try does a check on which no other depends.
func (p *part) try(ctx context.Context, name string, do step) { p.fill(ctx, p.line(name), do) }

// all does checks side by side; those that were given first are told first.
func (p *part) all(ctx context.Context, names []string, do func(name string) step) {
	var running sync.WaitGroup
	for _, name := range names {
		f := p.line(name)
		running.Go(func() { p.fill(ctx, f, do(name)) })
	}
	running.Wait()
}

// fill does a check and writes down how it ended; it reports whether that was well.
func (p *part) fill(ctx context.Context, f *Finding, do step) bool {
	if p.broken != "" {
		f.Detail = notTried + p.broken
		return false
	}
	limited, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	var err error
	f.Detail, f.Remedy, err = do(limited)
	var known *fault
	var not *unseen
	switch {
	case err == nil:
		f.Status = OK
	case errors.As(err, &not):
		f.Detail, f.Remedy = not.why, not.remedy
	case errors.As(err, &known):
		f.Status, f.Detail, f.Remedy = Failed, known.problem, known.remedy
	case limited.Err() != nil:
		f.Status, f.Detail = Failed, fmt.Sprintf("no answer within %s", stepLimit)
	default:
		f.Status, f.Detail = Failed, err.Error()
	}
	return f.Status == OK
}

// findings are the lines, in order.
func (p *part) findings() []Finding {
	list := make([]Finding, 0, len(p.lines))
	for _, f := range p.lines {
		list = append(list, *f)
	}
	return list
}
