package state

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

const (
	// mostWorks bounds the works that are remembered: a connector that runs every hour meets so many in two days, by when
	// OpenCTI has imported the oldest or never will.
	mostWorks = 50
	// mostDoubted bounds the runs that are doubted: the state is a text for people, and so many deleted works are no accident.
	mostDoubted = 64
)

// Work is a work at OpenCTI whose messages need not all be imported yet.
type Work struct {
	ID string `json:"id"`
	// Run is the number of the run that opened it, by which the index knows what it has delivered.
	Run uint32 `json:"run"`
	// Opened is when that was.
	Opened time.Time `json:"opened"`
	// Open says that the work was not closed yet.
	Open bool `json:"open"`
	// Errors is how many of the imports that failed are worked off.
	Errors int `json:"errors,omitempty"`
}

// noted is a work as the state remembers it.
type noted struct {
	Work
	// From is where its run began, and all is imported again from should it turn out to be deleted; nothing in it stands
	// for the import start.
	From place `json:"from"`
}

// place is where the datasets are.
type place struct {
	// lastRun is where the upstream connector would go on without a gap, zero when there is no such moment.
	lastRun time.Time
	// importFrom is where datasets begin that have no cursor yet, from the first run until each has one.
	importFrom time.Time
	datasets   map[string]pipeline.Cursor
}

// placeText is a place as it is written.
type placeText struct {
	LastRun    time.Time                  `json:"last_run,omitzero"`
	Datasets   map[string]pipeline.Cursor `json:"datasets,omitempty"`
	ImportFrom time.Time                  `json:"import_from,omitzero"`
}

// MarshalJSON writes what there is.
func (p place) MarshalJSON() ([]byte, error) {
	return json.Marshal(placeText{LastRun: p.lastRun, Datasets: p.datasets, ImportFrom: p.importFrom})
}

// UnmarshalJSON reads it again.
func (p *place) UnmarshalJSON(raw []byte) error {
	var t placeText
	err := json.Unmarshal(raw, &t)
	*p = place{lastRun: t.LastRun, datasets: t.Datasets, importFrom: t.ImportFrom}
	return err
}

func (p place) clone() place {
	c := p
	c.datasets = make(map[string]pipeline.Cursor, len(p.datasets))
	for name, cursor := range p.datasets {
		c.datasets[name] = cursor
	}
	return c
}

// isNothing says that the place is the import start, wherever that is.
func (p place) isNothing() bool {
	return p.lastRun.IsZero() && p.importFrom.IsZero() && len(p.datasets) == 0
}

// beginPassesAgain lets each pass under way begin again: without the index nothing tells what it has delivered, and
// OpenCTI may not have imported that yet, so that references to it would be taken for references to nothing.
func (p *place) beginPassesAgain() {
	for name, c := range p.datasets {
		if c.Pass != nil {
			c.Pass = &pipeline.Pass{Started: c.Pass.Started}
			p.datasets[name] = c
		}
	}
}

// goBackToDelivered lets each pass go on where nothing waited on the disk: what did is lost, or was delivered in vain.
func (p *place) goBackToDelivered() {
	for name, c := range p.datasets {
		if c.Pass != nil && c.Pass.KeptFrom != nil {
			pass := *c.Pass
			pass.After, pass.KeptFrom = *pass.KeptFrom, nil
			c.Pass = &pass
			p.datasets[name] = c
		}
	}
}

// everywhere changes where the datasets are and where each remembered work began, so that no work leads further ahead
// than the index allows.
func (d *document) everywhere(change func(*place)) {
	change(&d.place)
	for i := range d.works {
		change(&d.works[i].From)
	}
}

// goBackTo goes back to where a run began, and lets the works that were opened since, from the given one on, lead there
// too: each would else lead to where it began itself, past what is to be imported again.
func (d *document) goBackTo(from place, since int) {
	d.place = from.clone()
	for i := range d.works[since:] {
		d.works[since+i].From = from.clone()
	}
}

// note remembers a work and returns those that give way to it.
func (d *document) note(w noted) (dropped []noted) {
	d.works = append(d.works, w)
	if over := len(d.works) - mostWorks; over > 0 {
		dropped, d.works = d.works[:over:over], slices.Clone(d.works[over:])
	}
	return dropped
}

// find returns the place of a work in the list, -1 for none.
func (d *document) find(id string) int {
	return slices.IndexFunc(d.works, func(w noted) bool { return w.ID == id })
}

// void takes back what the run of a work has brought, and doubts what the index has of it.
func (d *document) void(w noted) {
	since := d.find(w.ID)
	if since >= 0 {
		d.works = slices.Delete(d.works, since, since+1)
	} else {
		since = len(d.works)
	}
	if w.From.isNothing() {
		since = 0 // no other work may lead further ahead than to the import start
	}
	d.goBackTo(w.From, since)
	d.doubt(w.Run)
}

// doubt reports whether the run was not doubted before.
func (d *document) doubt(run uint32) bool {
	if slices.Contains(d.doubted, run) {
		return false
	}
	d.doubted = append(d.doubted, run)
	return true
}

// Works lists the works that OpenCTI may not have imported all of, oldest first.
func (k *Keeper) Works() []Work {
	k.mu.Lock()
	defer k.mu.Unlock()
	works := make([]Work, len(k.doc.works))
	for i, w := range k.doc.works {
		works[i] = w.Work
	}
	return works
}

// Doubted are the numbers of runs whose work was deleted before OpenCTI had imported all of it, or of which it has not said
// what it could not import: what the index has of them was delivered, and may not be there.
func (k *Keeper) Doubted() map[uint32]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	runs := make(map[uint32]bool, len(k.doc.doubted))
	for _, run := range k.doc.doubted {
		runs[run] = true
	}
	return runs
}

// Imported forgets a work that OpenCTI has imported to its end. The next ping says so.
func (k *Keeper) Imported(id string) {
	k.change(func(d *document) {
		d.works = slices.DeleteFunc(d.works, func(w noted) bool { return w.ID == id })
	})
}

// Followed notes how many of a work's failed imports are worked off. The next ping says so, and is asked for.
func (k *Keeper) Followed(id string, errors int) {
	k.change(func(d *document) {
		if i := d.find(id); i >= 0 {
			d.works[i].Errors = errors
		}
	})
	k.Ping()
}

// Doubt lets what the index has of a run be verified with OpenCTI as it comes again. It reports whether the run was not
// doubted before. Where too many are, the one that was doubted first is believed again.
func (k *Keeper) Doubt(run uint32) (news bool) {
	var dropped []uint32
	k.change(func(d *document) {
		news = d.doubt(run)
		if over := len(d.doubted) - mostDoubted; over > 0 {
			dropped, d.doubted = d.doubted[:over:over], slices.Clone(d.doubted[over:])
		}
	})
	if len(dropped) > 0 {
		k.cfg.Log.Warn("too many runs left something that OpenCTI may not have imported; what the first of them brought is not verified any more; "+
			"CONNECTOR_REIMPORT=true brings everything again", zap.Uint32s("runs", dropped))
	}
	k.Ping()
	return news
}

// Closed notes that a work was closed, and returns when OpenCTI holds that.
func (k *Keeper) Closed(ctx context.Context, id string) error {
	generation := k.change(func(d *document) {
		if i := d.find(id); i >= 0 {
			d.works[i].Open = false
		}
	})
	return k.store(ctx, generation)
}

// change changes a copy of the state, for others may be reading it, and returns the state's generation.
func (k *Keeper) change(f func(*document)) (generation int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	doc := k.doc.clone()
	f(&doc)
	k.doc = doc
	return k.generation
}

// Void takes back what the run of a work has delivered that was deleted before OpenCTI had imported all of it: the next
// run begins where that one did. It is called between two runs, and returns when OpenCTI holds the state.
func (k *Keeper) Void(ctx context.Context, id string) error {
	k.mu.Lock()
	i := k.doc.find(id)
	if i < 0 {
		k.mu.Unlock()
		return nil
	}
	k.takeBack(k.doc.works[i])
	generation := k.generation
	k.mu.Unlock()
	return k.store(ctx, generation)
}

// takeBack wants mu held.
func (k *Keeper) takeBack(w noted) {
	doc := k.doc.clone()
	doc.void(w)
	switch {
	case len(doc.doubted) > mostDoubted:
		k.cfg.Log.Warn("too many works were deleted in OpenCTI to doubt what each has brought; everything is imported again")
		doc.everywhere(func(p *place) { *p = place{}.clone() }) // what the index holds back goes with it
		k.startIndexAnew(&doc)
	case w.From.isNothing():
		k.cfg.Log.Warn("objects that earlier runs held back may have gone with the deleted work; everything is imported again", zap.String("work", w.ID))
	}
	k.doc = doc
	k.newGeneration(errTakenBack) // what the run still commits would lead ahead again
}

// startIndexAnew lets the index be emptied before the next run, and the passes begin again that it knew about. Objects
// that it holds back go with it; see README. It wants mu held.
func (k *Keeper) startIndexAnew(doc *document) {
	doc.everywhere((*place).beginPassesAgain)
	doc.doubted, doc.index = nil, ""
	k.emptyIndex = true
}

// warnOfDropped names works that are remembered no longer.
func (k *Keeper) warnOfDropped(works []noted) {
	for _, w := range works {
		k.cfg.Log.Warn("too many works wait for OpenCTI to import them; what becomes of the oldest is not looked at any more",
			zap.String("work", w.ID), zap.Time("opened", w.Opened))
	}
}
