package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// ErrReset says that an operator reset the connector in OpenCTI: its queue was purged, so nothing of the run counts.
var ErrReset = fmt.Errorf("the connector was reset in OpenCTI: %w", pipeline.ErrAbandon)

// Index is the part of the index of delivered objects that must go along with the state.
type Index interface {
	// ID names the index for as long as it keeps its records.
	ID() string
	// Flush makes what was delivered durable.
	Flush(ctx context.Context) error
	// Empty forgets everything and gives the index another ID.
	Empty(ctx context.Context) error
	// HoldsBack reports whether the index keeps objects of earlier runs that wait for others.
	HoldsBack() bool
}

// Config is what a [Keeper] works with.
type Config struct {
	Platform Platform
	Index    Index
	// WaitingLost says that the index has lost some of the objects that waited for others.
	WaitingLost bool
	// Enabled names the datasets that are imported.
	Enabled []string
	// ImportFrom is where a dataset begins that was never imported.
	ImportFrom func() time.Time
	// OnReset is called when a reset was found, at most once at a time, without any lock held.
	OnReset func()
	// OnPing is told how each ping ended; nil for nobody.
	OnPing func(error)
	// Every is the time between two pings; 0 for the 40 seconds that OpenCTI expects.
	Every time.Duration
	Log   *zap.Logger
}

// Keeper holds the state and keeps OpenCTI's copy of it up to date. It is safe for concurrent use.
type Keeper struct {
	cfg  Config
	kick chan struct{} // asks for a ping now

	pinging chan struct{} // holds a token during an exchange with the platform, which must not overtake another
	// The rest of this group is guarded by pinging.
	stamp    time.Time // of the creation or the last reset that was seen
	answered bool      // a ping was answered, so the mark of an earlier reset is gone
	held     bool      // the platform has shown a state that was not empty since then
	doubt    bool      // the answer to a ping was lost, and with it perhaps the news of a reset
	failing  bool
	sent     []string // the last states that were sent or adopted, to tell an old one from another instance's
	intruded int      // looks until another instance's state is news again

	mu         sync.Mutex
	doc        document
	emptyIndex bool // before the next run
	generation int  // counts resets: what belongs to an earlier one must not be committed
}

// NewKeeper returns a keeper of an empty state; see [Keeper.Adopt].
func NewKeeper(cfg Config) *Keeper {
	if cfg.Every <= 0 {
		cfg.Every = 40 * time.Second
	}
	if cfg.OnReset == nil {
		cfg.OnReset = func() {}
	}
	if cfg.OnPing == nil {
		cfg.OnPing = func(error) {}
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	return &Keeper{
		cfg: cfg, kick: make(chan struct{}, 1), pinging: make(chan struct{}, 1),
		doc: document{datasets: map[string]pipeline.Cursor{}},
	}
}

// Adopt takes over the state that the platform holds at registration, before anything else is done with the keeper. The
// error wraps [ErrUnreadable] or [ErrNewer].
func (k *Keeper) Adopt(held Held) error {
	doc, err := parse(held.State)
	if err != nil {
		return err
	}
	if !doc.empty() && len(doc.datasets) == 0 {
		k.cfg.Log.Info("taking over the state of the connector before this one", zap.Time("last_run", doc.lastRun))
		for _, name := range k.cfg.Enabled {
			doc.datasets[name] = pipeline.Cursor{Since: doc.lastRun}
		}
	}
	emptyIndex := false
	if doc.index != k.cfg.Index.ID() {
		if doc.index != "" {
			k.cfg.Log.Warn("the index of delivered objects is not the one that the state belongs to; it starts anew, and passes under way begin again")
		}
		doc.beginPassesAgain()
		emptyIndex = true
	} else if k.cfg.WaitingLost {
		doc.goBackToDelivered()
	}
	k.stamp, k.held = held.Stamp, !isNothing(held.State)
	k.noteSent(held.State)
	k.mu.Lock()
	k.doc = doc
	k.emptyIndex = emptyIndex
	k.mu.Unlock()
	return nil
}

// beginPassesAgain lets each pass under way begin again: without the index nothing tells what it has delivered, and
// OpenCTI may not have imported that yet, so that references to it would be taken for references to nothing.
func (d *document) beginPassesAgain() {
	for name, c := range d.datasets {
		if c.Pass != nil {
			c.Pass = &pipeline.Pass{Started: c.Pass.Started}
			d.datasets[name] = c
		}
	}
}

// goBackToDelivered lets each pass go on where nothing waited on the disk that was lost.
func (d *document) goBackToDelivered() {
	for name, c := range d.datasets {
		if c.Pass != nil && c.Pass.KeptFrom != nil {
			pass := *c.Pass
			pass.After, pass.KeptFrom = *pass.KeptFrom, nil
			c.Pass = &pass
			d.datasets[name] = c
		}
	}
}

// Forget begins every dataset at the import start again, with an empty index, from the next run on; a run under way
// commits nothing more.
func (k *Keeper) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.doc = document{datasets: map[string]pipeline.Cursor{}}
	k.generation++
	// Not emptied here: late confirms of a run under way would be written into it again.
	k.emptyIndex = true
}

// Text is the state as it is now.
func (k *Keeper) Text() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.doc.text()
}

// LastRun is where the upstream connector would go on, zero when there is no such moment.
func (k *Keeper) LastRun() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.doc.lastRun
}

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

// store pings until the platform echoes the state.
func (k *Keeper) store(ctx context.Context, generation int) error {
	const first, longest = 100 * time.Millisecond, 5 * time.Second
	for pause := first; ; pause = min(2*pause, longest) {
		echoed, err := k.exchange(ctx, false)
		failure := consequences(err)
		if failure.Gone {
			k.Ping() // registering again is the heartbeat's
		}
		switch {
		case k.outdated(generation):
			return ErrReset
		case echoed:
			return nil
		case err != nil && !failure.Temporary && !failure.Gone:
			return fmt.Errorf("store the state in OpenCTI: %w", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("store the state in OpenCTI: %w", errors.Join(context.Cause(ctx), err))
		}
	}
}

func (k *Keeper) outdated(generation int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return generation != k.generation
}

// Ping asks for a ping at once, without waiting for it.
func (k *Keeper) Ping() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// Heartbeat pings until ctx ends.
func (k *Keeper) Heartbeat(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-k.kick:
		case <-ctx.Done():
			return
		}
		_, err := k.exchange(ctx, true)
		if consequences(err).Gone {
			k.returnToPlatform(ctx)
		}
		timer.Reset(k.cfg.Every)
	}
}

// returnToPlatform registers a connector again that was deleted from OpenCTI. Its queue went with it, and with the queue
// what was not yet imported: that is a reset.
func (k *Keeper) returnToPlatform(ctx context.Context) {
	// Nothing may be pinged in between: the new connector would hold the old state.
	if k.lock(ctx) != nil {
		return
	}
	k.cfg.Log.Error("the connector was deleted from OpenCTI; registering it again, everything is imported anew")
	held, err := k.cfg.Platform.Register(ctx)
	if err != nil {
		k.unlock()
		k.cfg.Log.Warn("the connector cannot be registered again; trying again with the next ping", zap.Error(err))
		return
	}
	k.reset(held.Stamp)
	k.unlock()
	k.tellReset()
}

// noteSent keeps the last few states: a platform whose storage lags is a few behind, not many.
func (k *Keeper) noteSent(text string) {
	const few = 8
	k.sent = slices.DeleteFunc(k.sent, func(s string) bool { return s == text })
	if len(k.sent) == few {
		k.sent = slices.Delete(k.sent, 0, 1)
	}
	k.sent = append(k.sent, text)
}
