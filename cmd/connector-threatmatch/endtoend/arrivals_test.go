package endtoend

import (
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// arrivals are the versions of the objects that have arrived at OpenCTI and still count. It is safe for concurrent use.
type arrivals struct {
	mu       sync.Mutex
	versions map[string][]arrivedVersion // by the object's id
}

type arrivedVersion struct {
	work     string
	modified time.Time
	through  bool // a worker is done with it, so that it outlives its work
}

// arrivalsOf takes messages for all that has arrived.
func arrivalsOf(messages []delivery) *arrivals {
	a := &arrivals{}
	for _, m := range messages {
		a.note(m)
	}
	return a
}

// note takes up a message.
func (a *arrivals) note(m delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.versions == nil {
		a.versions = map[string][]arrivedVersion{}
	}
	a.versions[m.ID] = append(a.versions[m.ID], arrivedVersion{work: m.Work, modified: modifiedOf(m)})
}

// forget lets nothing count any more.
func (a *arrivals) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.versions)
}

// purge is what a reset by an operator does to the queue.
func (a *arrivals) purge() { a.drop(func(v arrivedVersion) bool { return !v.through }) }

// through notes that a worker is done with a message.
func (a *arrivals) through(m delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, v := range a.versions[m.ID] {
		if !v.through && v.work == m.Work && v.modified.Equal(modifiedOf(m)) {
			a.versions[m.ID][i].through = true
			return
		}
	}
}

// dropWork is what the workers do with the messages of a work that was deleted.
func (a *arrivals) dropWork(work string) {
	a.drop(func(v arrivedVersion) bool { return v.work == work && !v.through })
}

func (a *arrivals) drop(which func(arrivedVersion) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, versions := range a.versions {
		a.versions[id] = slices.DeleteFunc(versions, which)
	}
}

// any says whether an object has arrived in some version.
func (a *arrivals) any(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.versions[id]) > 0
}

// onlyOf says that an object has arrived by none but these works.
func (a *arrivals) onlyOf(id string, works map[string]bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !slices.ContainsFunc(a.versions[id], func(v arrivedVersion) bool { return !works[v.work] })
}

// has says whether an object has arrived in this version or a newer one.
func (a *arrivals) has(o object) bool { return a.hasVersion(o.id, o.modified) }

// hasVersion says whether an object has arrived in a version or a newer one. OpenCTI keeps microseconds.
func (a *arrivals) hasVersion(id string, modified time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.versions[id], func(v arrivedVersion) bool { return !v.modified.Before(modified.Truncate(time.Microsecond)) })
}

// modifiedOf is the version of a message's object, zero when it has none.
func modifiedOf(m delivery) time.Time {
	var text struct {
		Modified time.Time `json:"modified"`
	}
	if json.Unmarshal(m.Object, &text) != nil {
		return time.Time{}
	}
	return text.Modified
}
