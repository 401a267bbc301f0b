package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
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

	exchange *exchange // with the platform

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
		cfg: cfg, kick: make(chan struct{}, 1), exchange: newExchange(cfg.Platform, cfg.Log),
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
	k.exchange.adopt(held)
	k.mu.Lock()
	k.doc = doc
	k.emptyIndex = emptyIndex
	k.mu.Unlock()
	return nil
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

// store pings until the platform echoes the state.
func (k *Keeper) store(ctx context.Context, generation int) error {
	backoff := remote.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for attempts := 0; ; attempts++ {
		echoed, err := k.ping(ctx, false)
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
		if ended := remote.Wait(ctx, backoff.Delay(attempts)); ended != nil {
			return fmt.Errorf("store the state in OpenCTI: %w", errors.Join(ended, err))
		}
	}
}

// ping sends the state and reports whether the platform now holds it. With look it first asks what the platform holds.
func (k *Keeper) ping(ctx context.Context, look bool) (bool, error) {
	if err := k.exchange.begin(ctx); err != nil {
		return false, err
	}
	verdict, err := k.exchange.send(ctx, k.Text, look)
	reset := verdict == wiped && err == nil
	if reset {
		k.obeyReset()
	}
	k.exchange.end()
	k.cfg.OnPing(err)
	if reset {
		k.tellReset()
	}
	return verdict == echoed && err == nil, err
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
		_, err := k.ping(ctx, true)
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
	if k.exchange.begin(ctx) != nil {
		return
	}
	k.cfg.Log.Error("the connector was deleted from OpenCTI; registering it again, everything is imported anew")
	held, err := k.cfg.Platform.Register(ctx)
	if err != nil {
		k.exchange.end()
		k.cfg.Log.Warn("the connector cannot be registered again; trying again with the next ping", zap.Error(err))
		return
	}
	k.exchange.wipe(held.Stamp)
	k.obeyReset()
	k.exchange.end()
	k.tellReset()
}

// Registered tells the keeper that the connector was registered again. One that was deleted meanwhile came back as a new
// one, and its queue had gone with it: that is a reset. The error is that ctx ended before.
func (k *Keeper) Registered(ctx context.Context, held Held) error {
	if err := k.exchange.begin(ctx); err != nil {
		return err
	}
	verdict := k.exchange.see(held)
	if verdict == wiped {
		k.obeyReset()
	}
	k.exchange.end()
	if verdict == wiped {
		k.tellReset()
	}
	return nil
}

// obeyReset forgets everything, before any other exchange could bring the old state back to the platform.
func (k *Keeper) obeyReset() {
	k.cfg.Log.Warn("the connector was reset in OpenCTI; the next run imports everything again")
	k.Forget()
}

// tellReset makes a reset known, and has the platform hold the empty state soon: it may have stored the one before.
func (k *Keeper) tellReset() {
	k.cfg.OnReset()
	k.Ping()
}
