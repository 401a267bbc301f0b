package state

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Begin returns the checkpoint of one run; the run before it must have ended. Once a reset was found, the checkpoint
// commits nothing more.
func (k *Keeper) Begin(ctx context.Context) *RunCheckpoint {
	k.emptyIfNeeded(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.doc.importFrom.IsZero() {
		k.doc.importFrom = k.cfg.ImportFrom().UTC()
	}
	return &RunCheckpoint{keeper: k, generation: k.generation, start: k.doc.clone(), holdsBack: k.cfg.Index.HoldsBack()}
}

// emptyIfNeeded empties an index that does not belong to the state, and lets the state name the one that does. It does
// not hear ctx: an index that is half done with would be believed by the next process.
func (k *Keeper) emptyIfNeeded(ctx context.Context) {
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
	k.doc.index = k.cfg.Index.ID()
	switch {
	case needed && k.doc.index == before:
		k.doc.index = "" // no process may believe it
	case needed:
		k.emptyIndex = false
	}
}

// RunCheckpoint is the [pipeline.Checkpoint] of one run.
type RunCheckpoint struct {
	keeper     *Keeper
	generation int
	holdsBack  bool // the index held objects of earlier runs back when the run began
	start      document
}

// Revoke takes back what the run has committed, because its messages do not count any more. What it has delivered is
// forgotten too, so that the next run sends all of it again.
func (c *RunCheckpoint) Revoke(ctx context.Context) error {
	k := c.keeper
	k.mu.Lock()
	if c.generation != k.generation {
		k.mu.Unlock()
		return nil
	}
	k.doc = c.start.clone()
	k.doc.beginPassesAgain()
	if c.holdsBack {
		// They go with the index, or went with the run, and their items are not fetched again.
		k.cfg.Log.Warn("objects that earlier runs held back went with the deleted work; everything is imported again")
		k.doc = document{datasets: map[string]pipeline.Cursor{}}
	}
	k.doc.index = "" // until it is empty
	k.generation++
	generation := k.generation
	k.mu.Unlock()
	// At once, for the process may end before another run begins; the run has ended, so nothing is written any more.
	emptied := k.cfg.Index.Empty(ctx)
	k.mu.Lock()
	switch {
	case generation != k.generation: // there was a reset meanwhile, which goes further
	case emptied != nil:
		k.emptyIndex = true
	default:
		k.doc.index = k.cfg.Index.ID()
	}
	k.mu.Unlock()
	return errors.Join(emptied, k.store(ctx, generation))
}

// Cursor is where a dataset goes on in this run, whatever was committed or reset since its begin.
func (c *RunCheckpoint) Cursor(dataset string) pipeline.Cursor {
	if cursor, found := c.start.datasets[dataset]; found {
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
	if c.generation != k.generation {
		k.mu.Unlock()
		return ErrReset
	}
	doc := k.doc.clone()
	for name, cursor := range cursors {
		doc.datasets[name] = cursor
	}
	doc.settleLastRun(k.cfg.Enabled)
	k.doc = doc
	k.mu.Unlock()
	return k.store(ctx, c.generation)
}
