package emit

import (
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// This file is about what the index knows and is not sure of; see trust.

// learnHeld takes note that OpenCTI holds an object, of a kind that is 0 where it does not matter. It returns the node
// that need not be sent for it: settling that is for the caller.
func (o *order) learnHeld(id string, kind uint8) *node {
	key := index.KeyOf(id)
	o.noteHeld(key, kind)
	n := o.askedNode(key)
	if n != nil {
		o.believe(n)
		o.forget(n)
		if n.hasAlt() {
			o.noteHeld(n.alt, kind)
			o.arrive(n.alt)
			o.newlyPlaced = append(o.newlyPlaced, n.alt)
		}
	}
	o.arrive(key)
	o.newlyPlaced = append(o.newlyPlaced, key)
	return n
}

// noteHeld lets the index know that OpenCTI holds an object.
func (o *order) noteHeld(key index.Key, kind uint8) {
	rec, found := o.index.Lookup(key)
	switch {
	case !found:
		rec = index.Record{Seq: 1, Kind: kind} // no digest: the object itself is sent when it comes
	case rec.Filtered != pipeline.Wanted:
		rec.Mark, rec.Run = index.Delivered, 0 // by others
	case rec.Mark == index.Refused:
		// An earlier version, which others may refer to; the one that was sent need not be sent again.
		rec.Mark, rec.Run = index.Renewed, 0
	case rec.Mark == index.Lost, o.trust.doubted[rec.Run]:
		// It may be an earlier version, or another connector's: what was sent did not get there, or nobody knows.
		rec = index.Record{Modified: rec.Modified, Seq: rec.Seq, Kind: rec.Kind, Tries: rec.Tries}
	case o.trust.asReference(rec) != uncertain:
		return // this run has sent it meanwhile
	}
	rec.Day = o.trust.today
	o.index.Put(key, rec)
}

// learnAbsent takes note that OpenCTI does not hold an object. Where the index had thought so the object is sent again, now
// where it has come and else when it comes. lost says that OpenCTI must have lost it, rather than never imported it.
func (o *order) learnAbsent(id string, now time.Time) (lost bool) {
	key := index.KeyOf(id)
	rec, found := o.index.Lookup(key)
	if found && o.trust.asReference(rec) == uncertain { // else this run has sent it meanwhile
		lost = !o.trust.doubted[rec.Run] && rec.Filtered == pipeline.Wanted
		rec.Mark, rec.Day = index.Lost, o.trust.today
		o.index.Put(key, rec)
	}
	if len(o.waiting[key]) > 0 {
		o.bringStandard(id, key, now)
	}
	if n := o.askedNode(key); n != nil {
		o.sendAgain(n, now)
	}
	return lost
}

// sendAgain lets a node go its way that OpenCTI was asked about.
func (o *order) sendAgain(n *node, now time.Time) {
	o.believe(n)
	n.renews = false
	o.enter(n, now)
}

// goOnBlind goes by the index alone, for OpenCTI does not say what it holds. It returns the nodes that need not be sent:
// settling them is for the caller.
func (o *order) goOnBlind(now time.Time) (known []*node) {
	o.trust.blind = true
	for _, id := range o.waitedFor() {
		o.bringStandard(id, index.KeyOf(id), now)
	}
	for key, n := range o.live {
		if n.state != asked || n.key != key {
			continue
		}
		if rec, found := o.index.Lookup(key); found && o.trust.asSent(rec) == believed {
			o.believe(n)
			o.forget(n)
			known = append(known, n)
		} else {
			o.sendAgain(n, now)
		}
	}
	for key := range o.waiting {
		if rec, found := o.index.Lookup(key); found && o.live[key] == nil && o.trust.asReference(rec) == believed {
			o.arrive(key)
		}
	}
	return known
}

// waitedFor lists what parked nodes wait for.
func (o *order) waitedFor() (ids []string) {
	for key, list := range o.waiting {
		for _, n := range list {
			if !n.waitsFor(key) {
				continue
			}
			ids = append(ids, n.refsWith(func(k index.Key) bool { return k == key })...)
			break
		}
	}
	return ids
}

// isDoubtful says that OpenCTI has still to say whether it holds what the index knows under a key.
func (o *order) isDoubtful(key index.Key) bool {
	rec, found := o.index.Lookup(key)
	return found && o.trust.asReference(rec) == uncertain
}

func (o *order) askedNode(key index.Key) *node {
	if n := o.live[key]; n != nil && n.state == asked && n.key == key {
		return n
	}
	return nil
}
