package openctitest

import (
	"fmt"
	"slices"
)

// Works returns all works, in the order in which they were opened.
func (p *Platform) Works() []Work {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Work, len(p.works))
	for i, w := range p.works {
		out[i] = w.clone().Work
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

func (p *Platform) workAdd(args map[string]any) (any, error) {
	id := text(args["connectorId"])
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.connectors[id] == nil {
		return nil, gone(id)
	}
	p.lastWorkTime = laterThan(p.lastWorkTime)
	w := &work{openedAt: p.lastWorkTime, Work: Work{
		ID:   fmt.Sprintf("work_%s_%s", id, date(p.lastWorkTime)),
		Name: text(args["friendlyName"]), MultiPart: args["isMultiPartWork"] == true,
	}}
	p.works = keep(p.works, w)
	return w.describe(), nil
}

func (p *Platform) findWork(args map[string]any) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.aliveWork(text(args["id"])); w != nil {
		return w.describe(), nil
	}
	return nil, nil
}

func (p *Platform) isWorkAlive(args map[string]any) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.aliveWork(text(args["id"])) != nil, nil
}

// workEdit returns the changes that can be made to a work. One that is not alive is answered for as if it were, by releases that
// do not stumble over it.
func (p *Platform) workEdit(args map[string]any) (any, error) {
	id := text(args["id"])
	edit := func(change func(w *work, args map[string]any) error) method {
		return func(args map[string]any) (any, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			w := p.aliveWork(id)
			switch {
			case w == nil && p.cfg.TellsDeadWorks:
				return nil, fail("WORK_NOT_ALIVE", "Work is no longer alive: "+id)
			case w == nil && !p.cfg.answersForDeadWorks():
				return nil, fail("INTERNAL_SERVER_ERROR", "Cannot read properties of undefined (reading '_index')")
			case w == nil:
				return id, nil
			}
			if err := change(w, args); err != nil {
				return nil, err
			}
			return id, nil
		}
	}
	return object{"addExpectations": edit(addExpectations), "toProcessed": edit(toProcessed), "reportExpectation": edit(reportExpectation), "addDraftContext": edit(addDraftContext)}, nil
}
