package sandbox

import (
	"encoding/json"
	"io"
	"strings"
	"sync"
)

// arrivals looks at every message that reaches the queue, as OpenCTI's workers would meet it.
type arrivals struct {
	record io.Writer // of each object, a line; nil for none

	mu         sync.Mutex
	recordErr  error
	byType     map[string]int
	byWork     map[string]int
	seen       map[string]bool
	inOpenCTI  map[string]bool // before any message
	total      int
	early      []string // objects that came before something that they refer to, the first few
	earlyCount int
	repeated   int
	unreadable int
}

// shownEarly bounds how many offenders are named.
const shownEarly = 5

func newArrivals() *arrivals {
	return &arrivals{byType: map[string]int{}, byWork: map[string]int{}, seen: map[string]bool{}, inOpenCTI: map[string]bool{}}
}

// held says that OpenCTI has objects of these ids: what refers to them need not wait for a message.
func (a *arrivals) held(ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		a.inOpenCTI[id] = true
	}
}

// add takes the body of the next message of the queue.
func (a *arrivals) add(body []byte) {
	var envelope struct {
		Content []byte `json:"content"`
		Work    string `json:"work_id"`
	}
	var bundle struct {
		Objects []json.RawMessage `json:"objects"`
	}
	var object map[string]json.RawMessage
	bad := json.Unmarshal(body, &envelope) != nil || json.Unmarshal(envelope.Content, &bundle) != nil || len(bundle.Objects) != 1 ||
		json.Unmarshal(bundle.Objects[0], &object) != nil
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total++
	a.byWork[envelope.Work]++
	if bad {
		a.unreadable++
		return
	}
	a.object(object)
	if a.record != nil && a.recordErr == nil {
		_, a.recordErr = a.record.Write(append(bundle.Objects[0], '\n'))
	}
}

func (a *arrivals) object(object map[string]json.RawMessage) {
	id := textOf(object["id"])
	a.byType[textOf(object["type"])]++
	for _, ref := range references(object) {
		if ref != id && !a.seen[ref] && !a.inOpenCTI[ref] {
			if a.earlyCount++; len(a.early) < shownEarly {
				a.early = append(a.early, id+" before "+ref)
			}
			break
		}
	}
	if a.seen[id] {
		a.repeated++
	}
	a.seen[id] = true
}

// references lists what an object refers to by its own properties.
func references(object map[string]json.RawMessage) []string {
	var refs []string
	for name, value := range object {
		switch {
		case strings.HasSuffix(name, "_ref"):
			if ref := textOf(value); ref != "" {
				refs = append(refs, ref)
			}
		case strings.HasSuffix(name, "_refs"):
			var list []string
			if json.Unmarshal(value, &list) == nil {
				refs = append(refs, list...)
			}
		}
	}
	return refs
}

// textOf is a JSON string's text, "" for everything else.
func textOf(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) != nil {
		return ""
	}
	return s
}
