package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// claimed is the state as an outsider reads it.
type claimed struct {
	LastRun  string                     `json:"last_run"`
	Index    string                     `json:"index"`
	Datasets map[string]pipeline.Cursor `json:"datasets"`
}

func readClaims(state string) (claimed, error) {
	var c claimed
	if state == "" || state == "null" {
		return c, nil
	}
	if err := json.Unmarshal([]byte(state), &c); err != nil {
		return c, fmt.Errorf("read the state %q: %w", state, err)
	}
	return c, nil
}

// claim is what a state says of an entry.
type claim int

const (
	nothing   claim = iota
	kept            // it is in the queue, or waits on the connector's disk
	delivered       // it is in the queue
)

// of says what the state claims of an entry.
func (c claimed) of(e entry) claim {
	cursor, known := c.Datasets[e.dataset]
	switch {
	case !known:
		return nothing
	case e.dataset == indicatorsDataset:
		return cursorClaims(cursor, func(after string) bool {
			at, err := time.Parse(time.RFC3339Nano, after)
			return err == nil && !e.date.After(at) // a run that goes on from there asks for what is later
		}, !e.date.After(cursor.Since.Truncate(time.Millisecond)))
	case slices.Contains(cursor.Failed, strconv.FormatInt(e.id, 10)):
		return nothing
	case cursor.Pass != nil && !e.date.Before(cursor.Pass.Started):
		return nothing // it is not of this pass
	}
	return cursorClaims(cursor, func(after string) bool {
		last, err := strconv.ParseInt(after, 10, 64)
		return err == nil && e.id <= last
	}, e.date.Before(cursor.Since))
}

func cursorClaims(cursor pipeline.Cursor, upTo func(after string) bool, before bool) claim {
	switch pass := cursor.Pass; {
	case before:
		return delivered
	case pass == nil || !upTo(pass.After):
		return nothing
	case pass.KeptFrom != nil && !upTo(*pass.KeptFrom):
		return kept
	}
	return delivered
}

// evidence is what is known to have arrived.
type evidence struct {
	// inQueue is the newest version of each object that the queue holds.
	inQueue map[string]time.Time
	// onDisk says that an object waits on the connector's disk; nil while nobody may look.
	onDisk func(id string) bool
	// partial says that a part of the data could not be read in a run, so that relations may have been put off.
	partial bool
}

func (v evidence) has(o object) bool {
	at, there := v.inQueue[o.id]
	return there && !at.Before(o.modified)
}

// mayBePutOff says that a relation may wait on the connector's disk for what a part that could not be read would have
// brought, or be on its way from there: its item counts as delivered meanwhile, and last_run passes over it.
func (v evidence) mayBePutOff(o object) bool {
	return v.partial && o.source != "" && (v.onDisk == nil || v.onDisk(o.id))
}

// unproven lists what a state claims and the evidence does not show.
func (s *source) unproven(c claimed, v evidence) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.lost()
	var wrong []string
	for _, e := range s.entries {
		level := c.of(e)
		for _, o := range e.objects {
			if level == nothing || v.has(o) || lost[o.id] {
				continue
			}
			waiting := v.onDisk != nil && v.onDisk(o.id)
			switch {
			case level == kept && (waiting || v.onDisk == nil && len(o.references()) > 0):
			case level == delivered && v.mayBePutOff(o):
			default:
				wrong = append(wrong, fmt.Sprintf("%s of %s %d (claim %d%s)", o.id, e.dataset, e.id, level, s.about(o, v)))
			}
		}
	}
	if at, err := time.Parse(time.RFC3339, c.LastRun); err == nil {
		wrong = append(wrong, s.aheadOf(at, lost, v)...)
	}
	return wrong
}

// forgotten lists what a process had delivered whole, with something that was new to it, and its last state does not
// claim although a cursor could; finished counts all that it had delivered so. began is the state that it began with.
func (s *source) forgotten(began, last claimed, v evidence, fresh map[string]bool) (finished int, forgotten []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.lost()
	whole := func(e entry) bool {
		return !slices.ContainsFunc(e.objects, func(o object) bool { return !v.has(o) && !lost[o.id] })
	}
	var newest time.Time // moment of an indicator
	var finishedNow []entry
	for _, e := range s.entries {
		if !whole(e) || !slices.ContainsFunc(e.objects, func(o object) bool { return fresh[o.id] && !s.shared(o.id) }) {
			continue
		}
		finishedNow = append(finishedNow, e)
		if e.dataset == indicatorsDataset && e.date.After(newest) {
			newest = e.date
		}
	}
	for _, e := range finishedNow {
		if last.of(e) != nothing || !last.reaches(e, began) || s.endWaits(e.dataset, began, last, whole) {
			continue
		}
		if e.dataset == indicatorsDataset && e.date.Equal(newest) {
			continue // a page can end amid those that share a moment, so the cursor stays below it
		}
		forgotten = append(forgotten, fmt.Sprintf("%s %d of %s (%s)", e.dataset, e.id, e.date.Format(time.RFC3339Nano), e.objects[0].id))
	}
	return len(finishedNow), forgotten
}

// reaches says whether a cursor can come to claim an entry in the pass that it is in. What changed after the begin of the
// pass is left to the next one, even if this one has read it, and of what had failed before only the name goes when it
// has come: it is tried out of its turn.
func (c claimed) reaches(e entry, began claimed) bool {
	cursor, known := c.Datasets[e.dataset]
	if !known {
		return true
	}
	before := began.Datasets[e.dataset]
	begin := cursor.Since // of a pass that has ended, also where the next one is under way
	if cursor.Pass != nil && cursor.Since.Equal(before.Since) {
		begin = cursor.Pass.Started
	}
	id := strconv.FormatInt(e.id, 10)
	return e.date.Before(begin) && !slices.Contains(before.Failed, id) && !slices.Contains(before.Gone, id)
}

// endWaits says that a dataset may have been read to the end of its pass, and something of its last page is not
// delivered: that page is claimed only when all is.
func (s *source) endWaits(dataset string, began, last claimed, whole func(entry) bool) bool {
	rest, waits := map[string]bool{}, false
	for _, e := range s.entries {
		if e.dataset == dataset && last.of(e) == nothing && last.reaches(e, began) {
			rest[fmt.Sprint(e.id, e.objects[0].id)] = true
			waits = waits || !whole(e)
		}
	}
	return waits && len(rest) <= 32 // items in a page, which is more than this API's indicators
}

// about tells what an object refers to that has not arrived.
func (s *source) about(o object, v evidence) string {
	text := ""
	for _, ref := range o.references() {
		if _, arrived := v.inQueue[ref]; !arrived {
			text += ", without " + ref
		}
	}
	return text
}

// aheadOf lists what changed before last_run and is not there.
func (s *source) aheadOf(lastRun time.Time, lost map[string]bool, v evidence) []string {
	var wrong []string
	for _, e := range s.entries {
		for _, o := range e.objects {
			if e.date.Before(lastRun) && !v.has(o) && !lost[o.id] && !v.mayBePutOff(o) {
				wrong = append(wrong, fmt.Sprintf("last_run is ahead of %s of %s %d", o.id, e.dataset, e.id))
			}
		}
	}
	return wrong
}

// missing lists what the source holds and the messages do not, and references that were lost on the way. A connector that
// has forgotten what it delivered may send a stale copy after the newer one.
func (s *source) missing(messages []delivery, v evidence, forgetful bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, _ := byID(messages)
	lost := s.lost()
	var wrong []string
	for id, o := range s.versions {
		if lost[id] {
			continue
		}
		m, sent := last[id]
		if !sent {
			wrong = append(wrong, fmt.Sprintf("%s is missing (confirmed: %t%s)", id, v.has(o), s.about(o, v)))
			continue
		}
		if at := modifiedOf(m); !at.Equal(o.modified) && !(forgetful && v.has(o)) {
			wrong = append(wrong, fmt.Sprintf("%s arrived last as of %s, the newest is of %s (confirmed: %t)", id, at, o.modified, v.has(o)))
		}
		for _, ref := range o.references() {
			if _, there := s.versions[ref]; there && !lost[ref] && !slices.Contains(m.Refs, ref) && !s.leads(ref, id) {
				wrong = append(wrong, fmt.Sprintf("%s has lost its reference to %s", id, ref))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
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

// leads says whether references lead from one object to another.
func (s *source) leads(from, to string) bool {
	seen := map[string]bool{from: true}
	for rest := []string{from}; len(rest) > 0; rest = rest[1:] {
		for _, ref := range s.versions[rest[0]].references() {
			if ref == to {
				return true
			}
			if !seen[ref] {
				seen[ref] = true
				rest = append(rest, ref)
			}
		}
	}
	return false
}
