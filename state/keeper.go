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

// errTakenBack ends what a run still commits after it was taken back.
var errTakenBack = fmt.Errorf("what the run has delivered was taken back: %w", pipeline.ErrAbandon)

// ErrReset says that an operator reset the connector in OpenCTI: its queue was purged, so nothing of the run counts.
var ErrReset = fmt.Errorf("the connector was reset in OpenCTI: %w", pipeline.ErrAbandon)

// ErrRestored says that OpenCTI was restored from a backup: it has lost what the run has delivered so far, too.
var ErrRestored = fmt.Errorf("OpenCTI was restored from a backup: %w", pipeline.ErrAbandon)

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
	// Folder names what outlives the index when it is emptied.
	Folder() string
	// Counter is how many commits the state had counted when it was last stored by somebody with this folder.
	Counter() uint64
	// SetCounter makes it durable where the disk allows; the error says that it is not even noted.
	SetCounter(ctx context.Context, n uint64) error
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
	// OnVoid is called when nothing counts any more of a run under way, with [ErrReset] or [ErrRestored]; at most once at a
	// time, without any lock held.
	OnVoid func(why error)
	// OnPing is told how each ping ended; nil for nobody.
	OnPing func(error)
	// OnBeat is told when the heartbeat is about to talk to the platform, or to wait for who does, and when it has done so; nil for
	// nobody. In between it can take as long as the platform is slow.
	OnBeat func(talking bool)
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
	// generation counts what makes a run void: what belongs to an earlier one must not be committed. why says what began it.
	generation int
	why        error
}

// NewKeeper returns a keeper of an empty state; see [Keeper.Adopt].
func NewKeeper(cfg Config) *Keeper {
	if cfg.Every <= 0 {
		cfg.Every = 40 * time.Second
	}
	if cfg.OnVoid == nil {
		cfg.OnVoid = func(error) {}
	}
	if cfg.OnPing == nil {
		cfg.OnPing = func(error) {}
	}
	if cfg.OnBeat == nil {
		cfg.OnBeat = func(bool) {}
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	k := &Keeper{cfg: cfg, kick: make(chan struct{}, 1), doc: document{place: place{}.clone()}}
	k.exchange = newExchange(cfg, k.recognize)
	return k
}

// Adopt takes over the state that the platform holds at registration, before anything else is done with the keeper. The
// error wraps [ErrUnreadable] or [ErrNewer], or says that ctx ended.
func (k *Keeper) Adopt(ctx context.Context, held Held) error {
	held, doc, err := k.readAgainIfOld(ctx, held)
	if err != nil {
		return err
	}
	k.takeOver(held, doc)
	return nil
}

// takeOver wants nobody to have an exchange under way but the caller.
func (k *Keeper) takeOver(held Held, doc document) {
	if doc.beginAtLastRun(k.cfg.Enabled) {
		k.cfg.Log.Info("taking over the state of the connector before this one", zap.Time("last_run", doc.lastRun))
	}
	doc.edited = time.Time{}
	k.exchange.adopt(held)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !doc.reset.IsZero() && held.Stamp.After(doc.reset):
		k.cfg.Log.Warn("the connector was reset in OpenCTI just when its state was stored there; the next run imports everything again")
		doc = document{place: place{}.clone()}
		k.startIndexAnew(&doc)
	case k.olderThanIndex(doc):
		k.cfg.Log.Warn("the state in OpenCTI is older than the index of delivered objects, as after OpenCTI was restored from a backup; "+
			"the index starts anew, and all begins again where the works began that had not been imported by then", zap.Uint64("commits", doc.commits), zap.Uint64("commits_of_index", k.cfg.Index.Counter()))
		// What lay in the queue when the backup was made has gone to the platform that is no more.
		doc.goBackToWorks(func(Work) bool { return true })
		k.startIndexAnew(&doc)
		k.count(&doc)
	case doc.index != k.cfg.Index.ID():
		if doc.index != "" {
			k.cfg.Log.Warn("the index of delivered objects is not the one that the state belongs to; it starts anew, passes under way begin again, " +
				"and the runs of works of which something failed")
			doc.goBackToWorks(func(w Work) bool { return w.Failed() > 0 }) // the disk knew what of it was sent since
		}
		k.startIndexAnew(&doc)
	case k.cfg.WaitingLost:
		doc.everywhere((*place).goBackToDelivered)
		doc.followAgain()
		k.count(&doc) // once OpenCTI holds it the index need not remember the loss any more
	}
	k.claim(&doc)
	k.sayForgotten(k.doc, doc)
	k.doc = doc
}

// recognize tells who wrote a state, and whether it is one of before the last that was stored.
func (k *Keeper) recognize(text string) (w writer, older bool) {
	d, err := parse(text)
	if err != nil {
		return writer{}, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	ahead := d.commits > max(k.doc.commits, k.cfg.Index.Counter())
	return writer{d.folder, d.processes, d.commits, ahead, !d.edited.IsZero()}, k.olderThanIndex(d)
}

// olderThanIndex reports whether the index has seen a commit that the state does not know.
func (k *Keeper) olderThanIndex(d document) bool {
	return d.folder == k.cfg.Index.Folder() && d.commits < k.cfg.Index.Counter()
}

// claim lets a state that somebody else wrote, or nobody, say whose it is now. It counts, or a backup of an own one that counts as
// much would not be older; and also where there is nothing else to say: two instances that find no state would not see each
// other, and one would cover what the other has stored with nothing.
func (k *Keeper) claim(doc *document) {
	if doc.folder != k.cfg.Index.Folder() {
		k.count(doc)
	}
	doc.claimed = doc.fresh()
}

// count lets the state be newer than all that were stored.
func (k *Keeper) count(doc *document) {
	doc.claimed = false
	doc.commits, doc.folder = max(doc.commits, k.cfg.Index.Counter())+1, k.cfg.Index.Folder()
}

// readAgainIfOld reads the state, and asks for it again where it is older than the index knows it: storage that lags
// shows the present one in a moment. As long as the platform does not answer, nothing is known.
func (k *Keeper) readAgainIfOld(ctx context.Context, held Held) (Held, document, error) {
	backoff := remote.Backoff{Min: pause, Max: 30 * time.Second}
	for looked, failed := 0, 0; ; {
		doc, err := parse(held.State)
		if err != nil || !k.olderThanIndex(doc) || looked == looks {
			return held, doc, err
		}
		if err := remote.Wait(ctx, max(pause, backoff.Delay(failed))); err != nil {
			return held, doc, fmt.Errorf("look for a newer state in OpenCTI: %w", err)
		}
		switch again, err := k.cfg.Platform.ConnectorState(ctx); {
		case err == nil:
			held, looked, failed = again, looked+1, 0
		case consequences(err).Temporary:
			failed++
		default:
			looked++
		}
	}
}

// Forget begins every dataset at the import start again, with an empty index, from the next run on; a run under way
// commits nothing more.
func (k *Keeper) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sayForgotten(k.doc, document{})
	k.doc = document{place: place{}.clone()}
	k.claim(&k.doc)
	k.newGeneration(ErrReset)
	// Not emptied here: late confirms of a run under way would be written into it again.
	k.emptyIndex = true
}

// startIndexAnew lets the index be emptied before the next run, and the passes begin again that it knew about. Objects
// that it holds back go with it; see README. It wants mu held.
func (k *Keeper) startIndexAnew(doc *document) {
	doc.everywhere((*place).beginPassesAgain)
	doc.followAgain()
	doc.doubted, doc.index = nil, ""
	k.emptyIndex = true
}

// LoseWaiting lets the passes under way go on where nothing waited on the disk, for some of that cannot be read any more. It is
// called while no run commits.
func (k *Keeper) LoseWaiting() {
	k.change(func(d *document) bool {
		d.everywhere((*place).goBackToDelivered)
		d.followAgain()
		return true
	})
}

// newGeneration makes the run under way void; it wants mu held.
func (k *Keeper) newGeneration(why error) {
	k.generation++
	k.why = why
}

// outdated returns why what belongs to a generation does not count any more, nil as long as it does. It wants mu held.
func (k *Keeper) outdated(generation int) error {
	if generation == k.generation {
		return nil
	}
	return k.why
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
		echoed, err := k.ping(ctx)
		failure := consequences(err)
		if failure.Gone {
			k.Ping() // registering again is the heartbeat's
		}
		k.mu.Lock()
		why := k.outdated(generation)
		k.mu.Unlock()
		switch {
		case why != nil:
			return why
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

// ping sends the state and reports whether the platform now holds it.
func (k *Keeper) ping(ctx context.Context) (bool, error) {
	if err := k.exchange.begin(ctx); err != nil {
		return false, err
	}
	var commits uint64
	verdict, err := k.exchange.send(ctx, func() string {
		k.mu.Lock()
		defer k.mu.Unlock()
		commits = k.doc.commits
		k.doc.reset, k.doc.processes = k.exchange.stamp, k.exchange.intruder.numbers()
		return k.doc.text()
	})
	var void error
	if err == nil {
		void = k.obey(verdict)
	}
	if verdict == echoed && err == nil && commits > k.cfg.Index.Counter() {
		// Only now: an index that has counted more than the state has known a newer one.
		if err := k.cfg.Index.SetCounter(ctx, commits); err != nil {
			k.cfg.Log.Debug("the index of delivered objects has not counted the commit; the next one makes good for it", zap.Error(err))
		}
	}
	k.exchange.end()
	k.cfg.OnPing(err)
	k.tell(void)
	return verdict == echoed && err == nil, err
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
		k.cfg.OnBeat(true)
		_, err := k.ping(ctx)
		if consequences(err).Gone {
			k.returnToPlatform(ctx)
		}
		k.cfg.OnBeat(false)
		next := k.cfg.Every
		if soon := time.Duration(k.exchange.intruder.soon.Swap(0)); soon > 0 {
			next = min(soon, next)
		}
		timer.Reset(next)
	}
}

// returnToPlatform registers a connector again that was deleted from OpenCTI. Its queue went with it, and with the queue
// what was not yet imported: that is a reset.
func (k *Keeper) returnToPlatform(ctx context.Context) {
	// Nothing may be pinged in between: the new connector would hold the old state.
	if k.exchange.begin(ctx) != nil {
		return
	}
	held, err := k.cfg.Platform.Register(ctx)
	if err != nil {
		k.exchange.end()
		k.cfg.Log.Warn("the connector was deleted from OpenCTI and cannot be registered again; trying again with the next ping", zap.Error(err))
		return
	}
	k.cfg.Log.Error("the connector was deleted from OpenCTI; it is registered again, and everything is imported anew")
	k.exchange.wipe(held.Stamp)
	void := k.obey(wiped)
	k.exchange.end()
	k.tell(void)
}

// Registered tells the keeper that the connector was registered again. One that was deleted meanwhile came back as a new
// one, and its queue had gone with it: that is a reset. The error is that ctx ended before.
func (k *Keeper) Registered(ctx context.Context, held Held) error {
	if err := k.exchange.begin(ctx); err != nil {
		return err
	}
	var void error
	if k.exchange.looksRestored(held) {
		k.exchange.doubt = true // the next ping asks first, and again
	} else if verdict, err := k.exchange.conclude(ctx, held); err == nil { // else likewise
		void = k.obey(verdict)
	}
	k.exchange.end()
	k.tell(void)
	return nil
}

// obey draws the conclusions from a verdict, before any other exchange could bring the old state back to the platform. It
// returns why nothing counts any more of a run under way, nil where it does.
func (k *Keeper) obey(verdict answer) error {
	switch verdict {
	case wiped:
		k.cfg.Log.Warn("the connector was reset in OpenCTI; the next run imports everything again from THREATMATCH_IMPORT_FROM_DATE on, and what backfills have brought is to be ordered again")
		k.Forget()
		return ErrReset
	case fromBackup:
		doc, err := parse(k.exchange.backup.State)
		if err != nil {
			return nil // it was read before
		}
		if isNothing(k.exchange.backup.State) {
			k.cfg.Log.Warn("OpenCTI holds no state and was not reset, as after OpenCTI was restored from a backup that is older than the state; everything is imported again")
		}
		k.takeOver(k.exchange.backup, doc)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.newGeneration(ErrRestored)
		return ErrRestored
	}
	return nil
}

// tell makes known that nothing counts any more of a run under way, and has the platform hold the state from then on soon:
// it may have stored the one before.
func (k *Keeper) tell(void error) {
	if void != nil {
		k.cfg.OnVoid(void)
		k.Ping()
	}
}
