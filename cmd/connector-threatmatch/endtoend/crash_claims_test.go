package endtoend

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
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
	case e.dataset == fetch.IndicatorsDataset:
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
			case level == delivered && v.partial && o.source != "" && (waiting || v.onDisk == nil):
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

// forgotten counts the entries that were delivered whole, with something that was new to a process, and those of them that
// a state does not claim.
func (s *source) forgotten(c claimed, v evidence, fresh map[string]bool) (finished, forgotten int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.lost()
	for _, e := range s.entries {
		whole, anyNew := true, false
		for _, o := range e.objects {
			whole = whole && (v.has(o) || lost[o.id])
			anyNew = anyNew || fresh[o.id] && !s.shared(o.id)
		}
		if !whole || !anyNew {
			continue
		}
		finished++
		if c.of(e) == nothing {
			forgotten++
		}
	}
	return finished, forgotten
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
			if e.date.Before(lastRun) && !v.has(o) && !lost[o.id] {
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
