package openctitest

import (
	"fmt"
	"slices"
	"time"
)

// Works returns all works, in the order in which they were opened.
func (p *Platform) Works() []Work {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Work, len(p.works))
	for i, w := range p.works {
		out[i] = w.Work
		out[i].ExpectationCalls = slices.Clone(w.ExpectationCalls)
	}
	return out
}

// DeleteWork is what an operator's deletion of a work does. It reports whether there was one of that id.
func (p *Platform) DeleteWork(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.aliveWork(id)
	if w == nil {
		return false
	}
	w.Deleted = true
	return true
}

// aliveWork returns the work unless it is unknown or deleted; the caller holds the lock.
func (p *Platform) aliveWork(id string) *work {
	for _, w := range slices.Backward(p.works) {
		if w.ID == id && !w.Deleted {
			return w
		}
	}
	return nil
}

func notAlive(id string) *failure {
	return fail("WORK_NOT_ALIVE", "Work is no longer alive: "+id)
}

func (p *Platform) workAdd(args map[string]any) (any, error) {
	id := text(args["connectorId"])
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.connectors[id] == nil {
		return nil, gone(id)
	}
	p.lastWorkTime = after(p.lastWorkTime)
	w := &work{Work: Work{
		ID:   fmt.Sprintf("work_%s_%s", id, date(p.lastWorkTime)),
		Name: text(args["friendlyName"]), MultiPart: args["isMultiPartWork"] == true,
	}}
	p.works = keep(p.works, w)
	return w.describe(), nil
}

// describe returns the work as the schema has it.
func (w *work) describe() object {
	var closed any
	if w.Closed > 0 {
		closed = date(w.closedAt)
	}
	return object{"id": w.ID, "processed_time": closed, "tracking": object{"import_expected_number": w.Expected}}
}

// workEdit returns the changes that can be made to a work. Each is refused when the work is not alive.
func (p *Platform) workEdit(args map[string]any) (any, error) {
	id := text(args["id"])
	edit := func(change func(w *work, args map[string]any) error) method {
		return func(args map[string]any) (any, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			w := p.aliveWork(id)
			if w == nil {
				return nil, notAlive(id)
			}
			if err := change(w, args); err != nil {
				return nil, err
			}
			return id, nil
		}
	}
	return object{
		"addExpectations": edit(addExpectations),
		"toProcessed": edit(func(w *work, args map[string]any) error {
			w.Closed++
			w.closedAt = time.Now()
			w.Message, w.InError = text(args["message"]), args["inError"] == true
			return nil
		}),
	}, nil
}

func addExpectations(w *work, args map[string]any) error {
	n, given := args["expectations"]
	if !given || n == nil || number(n) < 0 {
		return fail("FUNCTIONAL_ERROR", "expectations must be a number that is not negative")
	}
	w.ExpectationCalls = append(w.ExpectationCalls, int(number(n)))
	w.Expected += int(number(n))
	return nil
}
