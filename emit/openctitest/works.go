package openctitest

import (
	"encoding/json"
	"fmt"
	"slices"
)

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
	p.lastWorkTime = p.after(p.lastWorkTime)
	w := &work{Work: Work{
		ID:          fmt.Sprintf("work_%s_%s", id, date(p.lastWorkTime)),
		ConnectorID: id,
		Name:        text(args["friendlyName"]),
		MultiPart:   args["isMultiPartWork"] == true,
		Opened:      p.lastWorkTime,
	}}
	p.works = keep(p.works, w)
	return w.describe(), nil
}

// describe returns the work as the schema has it.
func (w *work) describe() object {
	status := "wait"
	switch {
	case w.Closed > 0 && w.Processed >= w.Expected:
		status = "complete"
	case w.Expected > 0 || w.Closed > 0:
		status = "progress"
	}
	var messages []object
	var closed any
	if w.Closed > 0 {
		closed = date(w.closedAt)
		messages = append(messages, object{"timestamp": closed, "message": w.Message, "sequence": 1, "source": nil})
	}
	var errors []object
	for i, text := range w.errors {
		errors = append(errors, object{"timestamp": date(w.Opened), "message": text, "sequence": i + 1, "source": nil})
	}
	return object{
		"id": w.ID, "name": w.Name, "timestamp": date(w.Opened), "status": status,
		"received_time": date(w.Opened), "processed_time": closed, "completed_time": closed,
		"completed_number": w.Processed, "messages": messages, "errors": errors,
		"tracking": object{"import_expected_number": w.Expected, "import_processed_number": w.Processed},
	}
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
	nothing := edit(func(*work, map[string]any) error { return nil })
	return object{
		"ping": nothing, "toReceived": nothing, "addDraftContext": nothing,
		"delete":            edit(func(w *work, _ map[string]any) error { w.Deleted = true; return nil }),
		"addExpectations":   edit(addExpectations),
		"reportExpectation": edit(reportExpectation),
		"toProcessed": edit(func(w *work, args map[string]any) error {
			w.Closed++
			w.closedAt = p.cfg.Now()
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

func reportExpectation(w *work, args map[string]any) error {
	w.Processed++
	if in, ok := args["error"].(map[string]any); ok {
		w.errors = append(w.errors, text(in["error"]))
	}
	return nil
}

// bundlePush takes a bundle and adds one expectation for each of its objects.
func (p *Platform) bundlePush(args map[string]any) (any, error) {
	b := Bundle{ConnectorID: text(args["connectorId"]), WorkID: text(args["work_id"]), Content: text(args["bundle"])}
	var content struct {
		Type    string            `json:"type"`
		Objects []json.RawMessage `json:"objects"`
	}
	if err := json.Unmarshal([]byte(b.Content), &content); err != nil || content.Type != "bundle" {
		return nil, fail("FUNCTIONAL_ERROR", "the bundle is not a STIX bundle")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.connectors[b.ConnectorID] == nil {
		return nil, gone(b.ConnectorID)
	}
	if b.WorkID != "" {
		w := p.aliveWork(b.WorkID)
		if w == nil {
			return nil, notAlive(b.WorkID)
		}
		w.Expected += len(content.Objects)
	}
	p.bundles = keep(p.bundles, b)
	return true, nil
}
