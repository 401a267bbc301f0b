package state

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Begin returns the checkpoint of one run, whose number is another one for each; the run before it must have ended. Once
// a reset was found, the checkpoint commits nothing more.
func (k *Keeper) Begin(ctx context.Context, run uint32) *RunCheckpoint {
	k.ReadyIndex(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	importStart := k.cfg.ImportFrom().UTC()
	if k.doc.importFrom.IsZero() {
		k.doc.importFrom = importStart
	}
	k.doc.begin(importStart, k.cfg.Enabled)
	c := &RunCheckpoint{keeper: k, run: run, generation: k.generation, start: k.doc.place.clone()}
	if !k.cfg.Index.HoldsBack() {
		// The run may deliver what pages wait for on the disk, which is then not there any more.
		c.from = c.start.clone()
		c.from.goBackToDelivered()
	}
	return c
}

// ReadyIndex empties an index that does not belong to the state, and lets the state name the one that does. Each run begins
// with it, and so does whatever else puts something into the index between two runs. It does not hear ctx: an index that is
// half done with would be believed by the next process.
func (k *Keeper) ReadyIndex(ctx context.Context) {
	k.mu.Lock()
	needed := k.emptyIndex
	k.mu.Unlock()
	before := k.cfg.Index.ID()
	if needed {
		if err := k.cfg.Index.Empty(context.WithoutCancel(ctx)); err != nil {
			k.cfg.Log.Warn("the index of delivered objects cannot be emptied on disk; it is not used again", zap.Error(err))
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch id := k.cfg.Index.ID(); {
	case !needed && k.emptyIndex:
		// A restored backup came in between; the next one to call this empties it.
	case needed && id == before:
		k.doc.index = "" // no process may believe it
	default:
		k.doc.index, k.emptyIndex = id, false
	}
}

// RunCheckpoint is the [pipeline.Checkpoint] of one run, and remembers the run's work.
type RunCheckpoint struct {
	keeper *Keeper
	run    uint32
	start  place
	// from is where the next run begins should this one turn out to be void: the beginning where the index held objects
	// of earlier runs back, for the run may deliver those too, and their items are not fetched again.
	from       place
	generation int

	// Guarded by the keeper's mu:
	work    string
	revoked int // the generation that began when the run was taken back, 0 before
}

// Opened notes the work of the run and returns when OpenCTI holds that: before anything is published on it, so that a
// process that comes after this one can look for it.
func (c *RunCheckpoint) Opened(ctx context.Context, work string) error {
	k := c.keeper
	k.mu.Lock()
	if why := k.outdated(c.generation); why != nil {
		k.mu.Unlock()
		return why
	}
	doc := k.doc.clone()
	k.count(&doc)
	opened := time.Now().UTC().Truncate(time.Second)
	dropped := doc.note(noted{Work{ID: work, Run: c.run, Opened: opened, Open: true}, c.from.clone()})
	doc.noteBrought(work, c.from)
	k.doc, c.work = doc, work
	k.mu.Unlock()
	k.sayDropped(dropped)
	return k.store(ctx, c.generation)
}

// Gone takes back what the run has committed, because its work was deleted: no ping carries it from now on, and the next
// run begins where this one did. What the run has delivered is doubted.
func (c *RunCheckpoint) Gone() {
	k := c.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.generation == k.generation { // a reset goes further
		k.takeBack(noted{Work{ID: c.work, Run: c.run}, c.from})
		c.revoked = k.generation
	}
}

// Revoke does what Gone does and returns when OpenCTI holds the state.
func (c *RunCheckpoint) Revoke(ctx context.Context) error {
	c.Gone()
	c.keeper.mu.Lock()
	revoked := c.revoked
	c.keeper.mu.Unlock()
	if revoked == 0 {
		return nil
	}
	return c.keeper.store(ctx, revoked)
}

// Cursor is where a dataset goes on in this run, whatever was committed or reset since its begin.
func (c *RunCheckpoint) Cursor(dataset string) pipeline.Cursor {
	if cursor, found := c.start.cursorOf(dataset); found {
		return cursor
	}
	return pipeline.Cursor{Since: c.start.importFrom}
}

// Commit makes the index durable, stores the cursors in OpenCTI, and returns nil when a ping has echoed them. Whatever
// it returns, the next ping carries them too, for they say only what was delivered.
func (c *RunCheckpoint) Commit(ctx context.Context, cursors map[string]pipeline.Cursor) error {
	k := c.keeper
	if err := k.cfg.Index.Flush(ctx); err != nil {
		// Without the index objects are sent again; without the state everything would be.
		k.cfg.Log.Warn("the index of delivered objects cannot be written; objects may be sent again", zap.Error(err))
	}
	k.mu.Lock()
	if why := k.outdated(c.generation); why != nil {
		k.mu.Unlock()
		return why
	}
	doc := k.doc.clone()
	for name, cursor := range cursors {
		doc.move(name, cursor, c.start)
	}
	unread := doc.settleBackfill(k.cfg.Enabled)
	doc.noteBrought(c.work, c.from)
	doc.settleLastRun(k.cfg.Enabled)
	k.count(&doc)
	k.doc = doc
	k.mu.Unlock()
	k.sayUnread(unread)
	return k.store(ctx, c.generation)
}
