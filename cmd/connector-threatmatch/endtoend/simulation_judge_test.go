package endtoend

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

// checkClaim holds a state that the platform is sent against what has arrived by then.
func (s *simulation) checkClaim(text string) {
	c, err := readClaims(text)
	if err != nil {
		s.t.Error(err)
		return
	}
	if text == "" || text == "null" {
		s.resetPending.Store(false)
		return
	}
	if s.resetPending.Swap(false) {
		return // the connector cannot know of the reset yet: this ping is told of it, and its state is not stored
	}
	c = c.without(s.workers.isDead)
	// An item that failed brings ends late; what was held back for them follows a moment after.
	owed := false
	for _, cursor := range c.Datasets {
		owed = owed || len(cursor.Failed)+len(cursor.Gone) > 0
	}
	if wrong := s.world.unproven(c, evidence{arrivals: &s.workers.arrivals, partial: owed, doubtful: s.workers.doubtful}); len(wrong) > 0 && s.claimedTooMuch.CompareAndSwap(false, true) {
		s.t.Errorf("at %s the state %s claims %d objects that have not arrived, such as %q", time.Now().Format(stepTime), text, len(wrong), wrong[:min(3, len(wrong))])
	}
}

// foreignKnowledge is what OpenCTI could have said of foreign objects. It is safe for concurrent use.
type foreignKnowledge struct {
	mu      sync.Mutex
	since   map[string]time.Time // it holds them without a break
	refused time.Time            // the connector had no right to ask up to then
}

// hold lets OpenCTI hold a foreign object.
func (s *simulation) hold(id string, since time.Time) {
	s.platform.Hold(id)
	s.known.mu.Lock()
	defer s.known.mu.Unlock()
	if _, held := s.known.since[id]; !held {
		s.known.since[id] = since
	}
}

// refuse notes that the connector has no right to ask up to a moment.
func (k *foreignKnowledge) refuse(until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if until.After(k.refused) {
		k.refused = until
	}
}

// forget notes that OpenCTI has lost objects.
func (k *foreignKnowledge) forget(gone map[string]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.since, func(id string, _ time.Time) bool { return gone[id] })
}

// known says whether a run that sends now has been told that OpenCTI holds a foreign object, or was told nothing.
func (k *foreignKnowledge) known(id string) bool {
	const longestRun = time.Hour
	k.mu.Lock()
	defer k.mu.Unlock()
	since, held := k.since[id]
	begin := time.Now().Add(-longestRun)
	return held && since.Before(begin) && k.refused.Before(begin)
}

// checkCuts wants no message to lack a reference to a foreign object that OpenCTI holds: what it did not say for a while is
// no reason to cut it.
func (s *simulation) checkCuts(m delivery) {
	for _, ref := range s.world.cuts(m) {
		if s.known.known(ref) {
			s.t.Errorf("at %s %s was sent without %s, which OpenCTI holds", time.Now().Format(stepTime), m.ID, ref)
		}
	}
}

// cuts lists the foreign references that a message lacks of its object.
func (m *model) cuts(d delivery) (refs []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copies := m.newest[d.ID]
	if len(copies) != 1 || !modifiedOf(d).Equal(copies[0].modified) {
		return nil
	}
	for _, ref := range copies[0].refs {
		if slices.Contains(foreign, ref) && !slices.Contains(d.Refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// checkWorks looks at the books: closed once, and expecting no less than arrived. A work that a crash left open before an
// operator reset the connector stays open: the state that named it is gone. Of one that comes from a backup nothing is
// known, and one of a single part may be complete when it is told of more, which it then does not count.
func (s *simulation) checkWorks() {
	for _, w := range s.platform.Works() {
		left := w.Closed == 0 && w.Expected > 0 && !w.Complete && !w.Deleted && !s.unknown[w.ID]
		if w.Closed > 1 || left {
			s.t.Errorf("work %s was closed %d times", w.ID, w.Closed)
		}
		if arrived := s.workers.different(w.ID); w.MultiPart && !w.Deleted && !s.unknown[w.ID] && arrived > w.Expected {
			s.t.Errorf("work %s expects %d messages, but %d different ones arrived", w.ID, w.Expected, arrived)
		}
	}
}

// brought lists all that ThreatMatch brings.
func (m *model) brought() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.newest))
}

// cascade adds to what is deleted the relations that OpenCTI deletes with it.
func (m *model) cascade(gone map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for again := true; again; {
		again = false
		for id, copies := range m.newest {
			if !gone[id] && !slices.ContainsFunc(copies, func(o object) bool { return o.survives(func(ref string) bool { return gone[ref] }) }) {
				gone[id], again = true, true
			}
		}
	}
}

// amiss lists what the platform should hold and does not, or not in its newest version, or without a reference to what it
// holds. named says that the connector has named an object: then it need not be held, or not as it should be. What is
// excused need not be held, either, and if it is foreign not be referred to.
func (m *model) amiss(platform *openctitest.Platform, named, excused func(id string) bool) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	missing := map[string]bool{} // and need not be there
	absent := func(ref string) bool { return missing[ref] || len(m.newest[ref]) == 0 && !platform.Holds(ref) }
	for id := range m.newest {
		missing[id] = !platform.Holds(id) && (excused(id) || named(id))
	}
	for again := true; again; {
		again = false
		for id, copies := range m.newest {
			if !missing[id] && !slices.ContainsFunc(copies, func(o object) bool { return o.survives(absent) }) {
				missing[id], again = true, true
			}
		}
	}
	var wrong []string
	for id, copies := range m.newest {
		text, held := platform.Object(id)
		switch {
		case missing[id]:
		case !held:
			wrong = append(wrong, fmt.Sprintf("%s is missing", id))
		default:
			wrong = append(wrong, m.unlike(id, text, copies, named, func(ref string) bool {
				return platform.Holds(ref) && !(excused(ref) && slices.Contains(foreign, ref))
			})...)
		}
	}
	slices.Sort(wrong)
	return wrong
}

// unlike lists in what a held object differs from all copies of its newest version, but for references that are not wanted;
// m.mu is held.
func (m *model) unlike(id string, text json.RawMessage, copies []object, named, wanted func(id string) bool) (wrong []string) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return []string{fmt.Sprintf("%s cannot be read: %v", id, err)}
	}
	if named(id) {
		return nil
	}
	if at := modifiedOf(delivery{Object: text}); !at.Equal(copies[0].modified) {
		return []string{fmt.Sprintf("%s is as of %v, the newest is of %v", id, at, copies[0].modified)}
	}
	refs := references(members)
	for i, o := range copies {
		var lacks []string
		for _, ref := range o.refs {
			if !slices.Contains(refs, ref) && wanted(ref) && !m.leads(ref, id) {
				lacks = append(lacks, fmt.Sprintf("%s has lost its reference to %s", id, ref))
			}
		}
		if i == 0 || len(lacks) < len(wrong) {
			wrong = lacks
		}
	}
	return wrong
}
