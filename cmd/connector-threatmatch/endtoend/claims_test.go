package endtoend

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// claims is the state as an outsider reads it.
type claims struct {
	claimedPlace
	Index string    `json:"index"`
	Reset time.Time `json:"reset"`
	Works []struct {
		ID   string       `json:"id"`
		From claimedPlace `json:"from"`
	} `json:"works"`
}

// claimedPlace is how far the datasets are.
type claimedPlace struct {
	LastRun  time.Time                  `json:"last_run"`
	Datasets map[string]pipeline.Cursor `json:"datasets"`
}

// without is what the state claims where OpenCTI does not know some of the works any more that it names: of each it says
// where the next run begins then.
func (c claims) without(gone func(work string) bool) claims {
	for _, w := range slices.Backward(c.Works) {
		if !gone(w.ID) {
			continue
		}
		c.claimedPlace = w.From
		if len(w.From.Datasets) == 0 {
			break
		}
	}
	return c
}

func readClaims(state string) (claims, error) {
	var c claims
	if state == "" || state == "null" {
		return c, nil
	}
	if err := json.Unmarshal([]byte(state), &c); err != nil {
		return c, fmt.Errorf("read the state %q: %w", state, err)
	}
	return c, nil
}

func parseState(t *testing.T, text string) claims {
	t.Helper()
	c, err := readClaims(text)
	if err != nil {
		t.Error(err)
	}
	return c
}

// claim is what a state says of an entry.
type claim int

const (
	nothing   claim = iota
	kept            // it is in the queue, or waits on the connector's disk
	delivered       // it is in the queue
)

// of says what the state claims of an entry.
func (c claims) of(e entry) claim {
	cursor, known := c.Datasets[e.dataset]
	switch {
	case !known, e.late:
		return nothing
	case e.dataset == fetch.IndicatorsDataset:
		return cursorClaims(cursor, func(after string) bool {
			at, ok := pipeline.ParseTime(after)
			return ok && !e.date.After(at) // a run that goes on from there asks for what is later
		}, !e.date.After(cursor.Since.Truncate(time.Millisecond)))
	case slices.Contains(cursor.Failed, e.id) || slices.Contains(cursor.Gone, e.id):
		return nothing
	case cursor.Pass != nil && !e.date.Before(cursor.Pass.Started):
		return nothing // it is not of this pass
	}
	return cursorClaims(cursor, func(after string) bool {
		last, err := strconv.ParseInt(after, 10, 64)
		number, numberErr := strconv.ParseInt(e.id, 10, 64)
		return err == nil && numberErr == nil && number <= last
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

// evidence is what is known to have arrived, and what excuses that something has not.
type evidence struct {
	*arrivals
	// own says that an object was confirmed to the process in question; nil where that does not matter.
	own func(id string) bool
	// onDisk says that an object waits on the connector's disk; nil while nobody may look.
	onDisk func(id string) bool
	// partial says that a part of the data could not be read in a run, so that relations may have been put off.
	partial bool
	// doubtful says that OpenCTI need not hold an object which has arrived, for all that the connector knows: a relation may be
	// put off for as long as that is so of one of its ends, or it has not arrived. nil where relations are not put off.
	doubtful func(id string) bool
}

// excuses says whether an object that a state claims to be delivered may be missing.
func (v evidence) excuses(o object) bool {
	if v.partial && o.hasEnds() && (v.onDisk == nil || v.onDisk(o.id)) {
		return true
	}
	return v.doubtful != nil && !o.survives(func(ref string) bool { return !v.any(ref) || v.doubtful(ref) })
}

// unproven lists what a state claims and the evidence does not show.
func (m *model) unproven(c claims, v evidence) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	lost := m.lost()
	var wrong []string
	for _, e := range m.entries {
		level := c.of(e)
		for _, o := range e.objects {
			if level == nothing || v.has(o) || lost[o.id] {
				continue
			}
			switch {
			case level == kept && (v.onDisk == nil && len(o.refs) > 0 || v.onDisk != nil && v.onDisk(o.id)):
			case level == delivered && v.excuses(o):
			default:
				wrong = append(wrong, fmt.Sprintf("%s of %s %s (claim %d%s)", o.id, e.dataset, e.id, level, about(o, v)))
			}
		}
	}
	return append(wrong, m.aheadOf(c, lost, v)...)
}

// aheadOf lists what changed before last_run and is not there.
func (m *model) aheadOf(c claims, lost map[string]bool, v evidence) []string {
	if c.LastRun.IsZero() {
		return nil
	}
	var wrong []string
	for _, e := range m.entries {
		for _, o := range e.objects {
			if e.late || !e.date.Before(c.LastRun) || v.has(o) || lost[o.id] || slices.Contains(c.Datasets[e.dataset].Gone, e.id) || v.excuses(o) {
				continue
			}
			wrong = append(wrong, fmt.Sprintf("last_run is ahead of %s of %s %s", o.id, e.dataset, e.id))
		}
	}
	for name, cursor := range c.Datasets {
		if c.LastRun.After(cursor.Since) {
			wrong = append(wrong, fmt.Sprintf("last_run %v is ahead of %s, which is at %v", c.LastRun, name, cursor.Since))
		}
	}
	return wrong
}

// forgotten lists what a process had delivered whole, with something that was new to it, and its last state does not
// claim although a cursor could; finished counts all that it had delivered so. began is the state that it began with.
func (m *model) forgotten(began, last claims, v evidence, fresh func(id string) bool) (finished int, forgotten []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lost := m.lost()
	anew := began.Index != last.Index // what came from processes before it does not know, and has to bring again
	whole := func(e entry) bool {
		return !slices.ContainsFunc(e.objects, func(o object) bool { return (!v.has(o) || anew && !v.own(o.id)) && !lost[o.id] })
	}
	var newest time.Time // moment of an indicator
	var finishedNow []entry
	for _, e := range m.entries {
		if !whole(e) || !slices.ContainsFunc(e.objects, func(o object) bool { return fresh(o.id) }) {
			continue
		}
		finishedNow = append(finishedNow, e)
		if e.dataset == fetch.IndicatorsDataset && e.date.After(newest) {
			newest = e.date
		}
	}
	for _, e := range finishedNow {
		if last.of(e) != nothing || !last.reaches(e, began) || m.endWaits(e.dataset, began, last, func(e entry) bool { return whole(e) && !v.keeps(e) }) {
			continue
		}
		if e.dataset == fetch.IndicatorsDataset && e.date.Equal(newest) {
			continue // a page can end amid those that share a moment, so the cursor stays below it
		}
		forgotten = append(forgotten, fmt.Sprintf("%s %s of %s (%s)", e.dataset, e.id, e.date.Format(time.RFC3339Nano), e.objects[0].id))
	}
	return len(finishedNow), forgotten
}

// reaches says whether a cursor can come to claim an entry in the pass that it is in. What changed after the begin of the
// pass is left to the next one, even if this one has read it, and of what had failed before only the name goes when it
// has come: it is tried out of its turn.
func (c claims) reaches(e entry, began claims) bool {
	cursor, known := c.Datasets[e.dataset]
	if !known {
		return true
	}
	before := began.Datasets[e.dataset]
	begin := cursor.Since // of a pass that has ended, also where the next one is under way
	if cursor.Pass != nil && cursor.Since.Equal(before.Since) {
		begin = cursor.Pass.Started
	}
	return e.date.Before(begin) && !slices.Contains(before.Failed, e.id) && !slices.Contains(before.Gone, e.id)
}

// keeps says that some of an entry waits on the connector's disk, or may. It need not know of what a killed process has delivered.
func (v evidence) keeps(e entry) bool {
	return v.onDisk == nil || slices.ContainsFunc(e.objects, func(o object) bool { return v.onDisk(o.id) })
}

// endWaits says that a dataset may have been read to the end of its pass, and something of its last page is not
// delivered, or of an earlier one waits on disk: that page is claimed only when all is.
func (m *model) endWaits(dataset string, began, last claims, whole func(entry) bool) bool {
	pass := last.Datasets[dataset].Pass
	rest, waits := map[string]bool{}, pass != nil && pass.KeptFrom != nil
	for _, e := range m.entries {
		if e.dataset == dataset && last.of(e) == nothing && last.reaches(e, began) {
			rest[e.id+" "+e.objects[0].id] = true
			waits = waits || !whole(e)
		}
	}
	return waits && len(rest) <= 32 // items in a page, which is more than this API's indicators
}

// about tells what an object refers to that has not arrived.
func about(o object, v evidence) string {
	text := ""
	for _, ref := range o.refs {
		if !v.any(ref) {
			text += ", without " + ref
		}
	}
	return text
}

// missing lists what ThreatMatch holds and the messages do not, and references that were lost on the way. A connector that
// has forgotten what it delivered may send a stale copy after the newer one.
func (m *model) missing(messages []delivery, v evidence, forgetful bool) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, _ := byID(messages)
	lost := m.lost()
	var wrong []string
	for id, copies := range m.newest {
		if lost[id] {
			continue
		}
		o := copies[0]
		d, sent := last[id]
		if !sent {
			wrong = append(wrong, fmt.Sprintf("%s is missing (confirmed: %t%s)", id, v.has(o), about(o, v)))
			continue
		}
		if at := modifiedOf(d); !at.Equal(o.modified) && !(forgetful && v.has(o)) {
			wrong = append(wrong, fmt.Sprintf("%s arrived last as of %s, the newest is of %s (confirmed: %t)", id, at, o.modified, v.has(o)))
		}
		for _, ref := range o.refs {
			if len(m.newest[ref]) > 0 && !lost[ref] && !slices.Contains(d.Refs, ref) && !m.leads(ref, id) {
				wrong = append(wrong, fmt.Sprintf("%s has lost its reference to %s", id, ref))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}
