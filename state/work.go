package state

import (
	"context"
	"slices"

	"go.uber.org/zap"
)

// Works lists the works that are remembered, oldest first.
func (k *Keeper) Works() []Work {
	k.mu.Lock()
	defer k.mu.Unlock()
	works := make([]Work, len(k.doc.works))
	for i, w := range k.doc.works {
		works[i] = w.Work
	}
	return works
}

// Importing are the numbers of the runs whose works OpenCTI is not through with.
func (k *Keeper) Importing() map[uint32]bool {
	runs := map[uint32]bool{}
	for _, w := range k.Works() {
		if !w.Done {
			runs[w.Run] = true
		}
	}
	return runs
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
	k.changeWork(id, func(d *document, i int) { d.works = slices.Delete(d.works, i, i+1) })
}

// Done notes that OpenCTI is through with a work, and that some of what failed of it is still to be sent again. The next
// ping says so.
func (k *Keeper) Done(id string) {
	k.changeWork(id, func(d *document, i int) { d.works[i].Done = true })
}

// Followed notes how many of a work's errors are worked off, and how many of these the connector said itself. The next ping says so,
// and is asked for.
func (k *Keeper) Followed(id string, errors, said int) {
	k.changeWork(id, func(d *document, i int) { d.works[i].Errors, d.works[i].Said = errors, said })
	k.Ping()
}

// Doubt lets what the index has of a run be sent again as it comes. It reports whether the run was not
// doubted before. Where too many are, the one that was doubted first is believed again.
func (k *Keeper) Doubt(run uint32) (news bool) {
	var believed []uint32
	k.change(func(d *document) bool {
		news, believed = d.doubt(run)
		return news
	})
	k.sayBelieved(believed)
	k.Ping()
	return news
}

// Closed notes that a work was closed, and returns when OpenCTI holds that.
func (k *Keeper) Closed(ctx context.Context, id string) error {
	generation := k.changeWork(id, func(d *document, i int) { d.works[i].Open = false })
	return k.store(ctx, generation)
}

// changeWork changes what the state has of a work, if it has it, and returns the state's generation.
func (k *Keeper) changeWork(id string, f func(d *document, i int)) (generation int) {
	return k.change(func(d *document) (changed bool) {
		i := d.find(id)
		if i >= 0 {
			f(d, i)
		}
		return i >= 0
	})
}

// change changes a copy of the state, for others may be reading it, and returns the state's generation.
func (k *Keeper) change(f func(*document) (changed bool)) (generation int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if doc := k.doc.clone(); f(&doc) {
		k.count(&doc)
		k.doc = doc
	}
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
	k.sayBelieved(doc.void(w))
	if w.From.isNothing() {
		k.cfg.Log.Error("objects that earlier runs held back may have gone with the deleted work; everything is imported again, and sent as far as OpenCTI may lack it",
			zap.String("work", w.ID), zap.Time("from", doc.beginning))
	}
	k.count(&doc)
	k.doc = doc
	k.newGeneration(errTakenBack) // what the run still commits would lead ahead again
}

// sayBelieved names runs that are doubted no longer, though OpenCTI may lack what they brought.
func (k *Keeper) sayBelieved(runs []uint32) {
	if len(runs) > 0 {
		k.cfg.Log.Error("too many runs left something that OpenCTI may not have imported; what the first of them brought is not sent again any more; "+
			"CONNECTOR_REIMPORT=true brings everything again", zap.Uint32s("runs", runs))
	}
}

// sayDropped names works that are remembered no longer.
func (k *Keeper) sayDropped(works []noted) {
	for _, w := range works {
		if w.Done {
			continue
		}
		k.cfg.Log.Error("too many works wait for OpenCTI to import them; what becomes of the oldest is not looked at any more",
			zap.String("work", w.ID), zap.Time("opened", w.Opened))
	}
}
