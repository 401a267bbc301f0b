package state

import (
	"slices"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// goBackTo goes back to where a run began, and lets the works that were opened since, from the given one on, lead there
// too: each would else lead to where it began itself, past what is to be imported again. Those that lead to the beginning go
// on to do so.
func (d *document) goBackTo(from place, since int) {
	now := d.place
	d.place = from.clone()
	if from.isNothing() {
		d.importFrom = d.beginning
		for name := range now.datasets {
			d.datasets[name] = pipeline.Cursor{Since: d.beginning}
		}
	}
	d.keepBackfill(now.backfill, d.cancelled, from.isNothing())
	d.owe(now)
	for i := range d.works[since:] {
		if w := &d.works[since+i]; !w.From.isNothing() {
			brought := w.From
			w.From = from.settledBy(from)
			w.From.keepBackfill(brought.backfill, d.cancelled, false)
			w.From.owe(brought)
		}
	}
}

// goBackToWorks goes back to where the first of some works began. Those of them that are not closed stay, to be closed.
func (d *document) goBackToWorks(which func(Work) bool) {
	for i := len(d.works) - 1; i >= 0; i-- {
		if !which(d.works[i].Work) {
			continue
		}
		from := d.works[i].From
		if from.isNothing() {
			d.goBackTo(from, 0)
			break // no other leads further
		}
		d.goBackTo(from, i)
	}
	d.works = slices.DeleteFunc(d.works, func(w noted) bool { return which(w.Work) && !w.Open })
}

// followAgain lets the failed imports of the works be worked off again: what was to be sent again is not on disk any more.
func (d *document) followAgain() {
	for i := range d.works {
		d.works[i].Errors, d.works[i].Said, d.works[i].Done = 0, 0, false
	}
}

// noteBrought keeps with a work, whose run began at a place, what the run has brought of what was owed there.
func (d *document) noteBrought(id string, from place) {
	i := d.find(id)
	if i < 0 || d.works[i].From.isNothing() {
		return
	}
	d.works[i].From = from.settledBy(d.place)
	total := 0
	for _, w := range d.works {
		total += w.From.owed()
	}
	for i := 0; total > mostBrought; i++ {
		if owed := d.works[i].From.owed(); owed > 0 {
			total -= owed
			d.works[i].From = place{}.clone()
		}
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

// void takes back what the run of a work has brought, and doubts what the index has of it. It returns the runs that are
// doubted no longer.
func (d *document) void(w noted) (believed []uint32) {
	since := d.find(w.ID)
	if since >= 0 {
		d.works = slices.Delete(d.works, since, since+1)
	} else {
		since = len(d.works)
	}
	if w.From.isNothing() {
		since = 0 // no other work may lead further ahead than to the beginning
	}
	d.goBackTo(w.From, since)
	_, believed = d.doubt(w.Run)
	return believed
}

// doubt reports whether the run was not doubted before. Where too many are, those that were doubted first are believed again.
func (d *document) doubt(run uint32) (news bool, believed []uint32) {
	if slices.Contains(d.doubted, run) {
		return false, nil
	}
	d.doubted = append(d.doubted, run)
	if over := len(d.doubted) - mostDoubted; over > 0 {
		believed, d.doubted = d.doubted[:over:over], slices.Clone(d.doubted[over:])
	}
	return true, believed
}
