package emit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// shelf is what waits on disk: parked objects, so that their pages can be committed and their texts need no memory, and
// objects that were cleaned or held back, until something brings what they miss.
type shelf struct {
	store   Store
	index   Index
	order   *order
	memory  int // bytes of parked texts, beyond which the shelf's copy has to do
	atOnce  int // bytes of texts on their way to the store, or without references to the queue
	account *counters
	log     *zap.Logger
	// sendFull sends batches that are full.
	sendFull func(ctx context.Context) error

	// lost says that something stayed unsettled because the store did not take it: the run has to fail.
	lost bool

	omissions []omission      // delivered, or held back, and settled once the store has taken note
	owed      int             // bytes of the texts of these
	fragile   []*node         // additions that only memory has, though items count as kept for them
	done      []objectVersion // versions that the store need not hold any more
	saved     time.Time       // when parked objects were last saved
	tidied    time.Time       // when the two lists above were last worked off
	failing   bool            // the last attempt to save failed
	crowded   bool            // saving did not bring memory below its bound
	full      bool            // the store takes no more of what may not fall out: the oldest have to go without
}

// omission is an object that was cleaned or held back, and what the shelf is to remember of it.
type omission struct {
	node      *node
	waiter    *index.Waiter
	overtaken bool // by a newer version, so that there is nothing to remember
}

// parkedPatience is how long an object is parked before it is saved: a relation mostly waits for the rest of its own item
// only, and what is parked that short is not worth a write.
const parkedPatience = 2 * time.Second

// saveParked saves what has been parked for a while, or all, and lets go of the memory of parked objects beyond the
// bound. A disk that is full costs memory and progress, not objects: the error is only that ctx ended.
func (s *shelf) saveParked(ctx context.Context, now time.Time, all bool) error {
	over := s.order.parkedBytes > s.memory
	if (!over || s.crowded) && !all && now.Sub(s.saved) < parkedPatience {
		return nil
	}
	s.saved = now
	var nodes []*node
	for key, n := range s.order.live {
		if n.state == parked && n.key == key && !n.shelved && (over || all || now.Sub(n.parkedAt) >= parkedPatience) {
			nodes = append(nodes, n)
		}
	}
	s.crowded = over // until it turns out that there is room again
	// What is saved is in memory a second time on its way to the disk.
	const atOnce = 2000
	for some := range slices.Chunk(nodes, atOnce) {
		if saved, err := s.saveSome(ctx, some); err != nil || !saved {
			return err
		}
	}
	if over {
		s.freeMemory()
	}
	s.crowded = s.order.parkedBytes > s.memory
	return nil
}

// saveSome saves parked objects and reports whether the store took them; the error is only that ctx ended, or that one could not
// be read.
func (s *shelf) saveSome(ctx context.Context, parked []*node) (saved bool, err error) {
	nodes := make([]*node, 0, len(parked))
	waiters := make([]index.Waiter, 0, len(parked))
	for _, n := range parked {
		if s.holdsNewer(n.version()) {
			continue // it was held back, and its item is not fetched again
		}
		w, err := s.waiter(n, n.missingRefs(), index.Parked)
		if err != nil {
			return false, err
		}
		nodes, waiters = append(nodes, n), append(waiters, *w)
	}
	if err := s.save(ctx, waiters); err != nil {
		if ctx.Err() != nil {
			return false, err
		}
		return false, nil
	}
	for _, n := range nodes {
		n.markShelved()
	}
	return true, nil
}

// freeMemory lets go of the texts of parked objects that the store has.
func (s *shelf) freeMemory() {
	for _, n := range s.order.live {
		if n.state == parked && n.shelved && !n.altered && n.object.JSON != nil {
			s.order.letGo(n)
		}
	}
}

// save hands objects to the store, and says once when it begins to refuse them.
func (s *shelf) save(ctx context.Context, waiters []index.Waiter) error {
	if len(waiters) == 0 {
		return nil
	}
	evicted, err := s.store.Save(ctx, waiters)
	s.account.evicted.Add(int64(evicted))
	if err != nil && !s.failing && ctx.Err() == nil {
		s.log.Warn("objects that wait for others cannot be put on disk", zap.Error(err))
	}
	s.failing = err != nil
	s.full = errors.Is(err, index.ErrCrowded)
	return err
}

// waiter is what the store is to remember of a node that waits for refs: the object as it was before any of them went.
func (s *shelf) waiter(n *node, refs []string, kind index.WaiterKind) (*index.Waiter, error) {
	if err := s.load(n); err != nil {
		return nil, err
	}
	// The store holds one text under an id: those of older versions that are not sent yet are needed before this one
	// takes their place.
	for older := n.older; older != nil && older.state == placed && older.batch == 0; older = older.older {
		if err := s.load(older); err != nil {
			return nil, err
		}
	}
	object := n.object
	if n.lost != nil && n.lost.whole != nil {
		object = *n.lost.whole
	}
	return &index.Waiter{Object: object, Missing: refs, Dataset: n.dataset, Kind: kind}, nil
}

// load brings back a text that only the store has.
func (s *shelf) load(n *node) error {
	if n.object.JSON != nil {
		return nil
	}
	w, found, err := s.store.Get(n.object.ID)
	switch {
	case err != nil:
	case !found:
		err = errors.New("it is not there any more")
	case !w.Object.Modified.Equal(n.object.Modified):
		err = errors.New("another version is in its place")
	}
	if err != nil {
		return fmt.Errorf("read the parked object %s from disk: %w", n.object.ID, err)
	}
	n.object.JSON = w.Object.JSON
	if n.state == parked {
		s.order.parkedBytes += len(n.object.JSON)
	}
	return nil
}

// takeUpWaitersOf hands to the order what earlier runs held back or cleaned for lack of an object that goes now, and nothing else
// any more. What is parked the order has, and releases by itself.
func (s *shelf) takeUpWaitersOf(ctx context.Context, key index.Key) error {
	if !s.store.IsAwaited(key) {
		return nil
	}
	return s.takeUp(ctx, s.store.Arrive(key), nil)
}

// takeUpPartial hands to the order some of what lacks but a part of what it lacked as the run began, and reports whether there was
// any: it goes with what has come.
func (s *shelf) takeUpPartial(ctx context.Context) (some bool, err error) {
	const atOnce = 1000 // they are parked, until the rest of what they lack is given up
	waiters := s.store.TakePartial(atOnce)
	return some, s.takeUp(ctx, func(yield func(index.Waiter, error) bool) {
		for w, err := range waiters {
			some = true
			if !yield(w, err) {
				return
			}
		}
	}, nil)
}

// takeUpOne hands the object of an id to the order, if the shelf has it.
func (s *shelf) takeUpOne(ctx context.Context, id string) error {
	one := func(yield func(index.Waiter, error) bool) {
		if w, there, err := s.store.Get(id); there || err != nil {
			yield(w, err)
		}
	}
	return s.takeUp(ctx, one, nil)
}

// takeUp hands what waits on the shelf to the order. What cannot be read leaves the receipt unsettled.
func (s *shelf) takeUp(ctx context.Context, waiters iter.Seq2[index.Waiter, error], r *receipt) error {
	for w, err := range waiters {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			s.log.Warn("an object that waits on disk cannot be read", zap.Error(err))
			if r != nil {
				r.block()
			}
		default:
			s.place(w, r)
			// A hundred thousand may wait for one object: they go before all of them are in memory.
			if err := s.sendFull(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// place hands an object from the shelf to the order.
func (s *shelf) place(w index.Waiter, r *receipt) {
	if len(w.Object.Refs)+len(w.Missing) > fewWaits { // all its texts are one, which the id would keep in memory once it is sent
		w.Dataset, w.Object.ID, w.Object.Type, w.Object.AltID = strings.Clone(w.Dataset), strings.Clone(w.Object.ID), strings.Clone(w.Object.Type), strings.Clone(w.Object.AltID)
	}
	verdict := s.add(w.Dataset, &w.Object, r, time.Now(), w.Kind != index.Parked)
	n := s.order.live[index.KeyOf(w.Object.ID)]
	switch {
	case verdict == delivered, verdict == confirmed, verdict == filtered:
		s.done = append(s.done, objectVersion{w.Object.ID, w.Object.Modified})
	case n != nil && n.object.Modified.Equal(w.Object.Modified.Truncate(time.Microsecond)) && n.object.Digest == w.Object.Digest:
		// The next run would take it up as well: a parked one with its page, one held back with what it waited for. What
		// was held back stays so on the shelf, for the page of such an object may have been delivered long ago.
		n.markShelved()
	}
	if verdict == accepted {
		s.ease(n)
	}
}

// ease lets go of a text that the store has where memory is short.
func (s *shelf) ease(n *node) {
	if n.shelved && !n.altered && n.object.JSON != nil && s.order.parkedBytes+s.order.readyBytes > s.memory {
		s.order.letGo(n)
	}
}

// delivered settles a node that was confirmed. The store need not hold it any more, or from now on as one that was sent
// without some of its references: then it is settled once that is written.
func (s *shelf) delivered(n *node) {
	if n.lost != nil && n.lost.noted != nil {
		s.owe(omission{node: n, waiter: n.lost.noted})
		n.lost.noted = nil
		return
	}
	n.settle()
	if !n.overtaken && (n.shelved || s.store.Has(n.object.ID)) {
		s.done = append(s.done, n.version())
	}
}

// owe leaves an omission to be noted by the next tidying.
func (s *shelf) owe(o omission) {
	s.omissions = append(s.omissions, o)
	s.owed += len(o.waiter.Object.JSON)
}

// tidy notes what was delivered incomplete and forgets what was delivered, from time to time or at once. Before either the
// index is made durable: else a crash could leave an object that is neither fetched again nor known, and what refers to it
// would go without the reference.
func (s *shelf) tidy(ctx context.Context, atOnce bool) error {
	// The index is written for it, so not for each; and what was cleaned still has its text in memory.
	const every, mostDone, mostOmissions = time.Second, 4096, 1000
	now := time.Now()
	few := len(s.done) < mostDone && len(s.omissions) < mostOmissions && s.owed < s.atOnce && now.Sub(s.tidied) < every
	if len(s.done)+len(s.omissions) == 0 || (few && !atOnce) {
		return nil
	}
	done, omissions := s.done, s.omissions
	s.tidied, s.done, s.omissions, s.owed = now, nil, nil, 0
	s.judge(omissions) // while the index has their records in memory
	if err := s.index.Flush(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("write the index of delivered objects: %w", context.Cause(ctx))
		}
		// It goes on from memory, without saying so again.
		s.log.Warn("the index of delivered objects cannot be written", zap.Error(err))
	}
	s.forget(ctx, done) // first: what is noted now may be a copy of the same version that took the place of one of these
	return s.write(ctx, omissions)
}

// judge finds out which of some omissions newer versions have overtaken.
func (s *shelf) judge(omissions []omission) {
	for i := range omissions {
		omissions[i].overtaken = s.isOvertaken(omissions[i].node)
	}
}

// note saves what was not sent, or not with all its references, before its items are settled. Where the store does not
// take it, or the process dies in between, they stay unsettled and are fetched again.
func (s *shelf) note(ctx context.Context, omissions []omission) error {
	s.judge(omissions)
	return s.write(ctx, omissions)
}

// write does so once they are judged.
func (s *shelf) write(ctx context.Context, omissions []omission) error {
	waiters := make([]index.Waiter, 0, len(omissions))
	for _, o := range omissions {
		// A newer version may have come, and what the store holds of it is needed.
		if !o.overtaken && !s.holdsNewer(o.node.version()) {
			s.makeWay(o.node)
			waiters = append(waiters, *o.waiter)
		}
	}
	if err := s.save(ctx, waiters); err != nil {
		if ctx.Err() != nil {
			return err
		}
		s.lost = true
		return nil
	}
	for _, o := range omissions {
		o.node.settle()
		o.node.dropTexts() // what waited for it may list it for a while
		for _, ref := range o.waiter.Missing {
			if key := index.KeyOf(ref); s.order.known(ref, key) {
				s.order.newlyPlaced = append(s.order.newlyPlaced, key) // it came while the object went without it
			}
		}
	}
	return nil
}

// forget takes delivered versions off the store, unless it holds newer ones by now.
func (s *shelf) forget(ctx context.Context, done []objectVersion) {
	var ids []string
	for _, v := range done {
		n := s.order.live[index.KeyOf(v.id)]
		onWay := n != nil && (n.shelved || n.claims.taken().shelved > 0) // its text may be in the store alone, or items kept for that
		if !onWay && !s.holdsNewer(v) {
			ids = append(ids, v.id)
		}
	}
	if len(ids) == 0 {
		return
	}
	if err := s.store.Remove(ctx, ids); err != nil && ctx.Err() == nil {
		// What stays behind is found delivered by the next run.
		s.log.Debug("delivered objects could not be taken off the disk", zap.Error(err))
	}
}

// holdsNewer reports whether the store holds a newer version, which still waits.
func (s *shelf) holdsNewer(v objectVersion) bool {
	modified, there := s.store.Modified(v.id)
	return there && modified.After(v.modified)
}

// isOvertaken reports whether a version, or copy, that counts more than an object that was delivered or held back is under way, or was
// delivered.
func (s *shelf) isOvertaken(n *node) bool {
	if newer := s.order.live[n.key]; newer != nil && newer != n && newer.standing().compare(n.standing()) > 0 {
		return true
	}
	rec, found := s.index.Lookup(n.key)
	return found && !n.object.Modified.IsZero() && rec.Modified > n.object.Modified.UnixMicro()
}

// makeWay brings back the texts of older versions that are under way, before the store holds this one in their place.
func (s *shelf) makeWay(n *node) {
	for older := s.order.live[n.key]; older != nil; older = older.older {
		if older == n || older.state == gone || older.batch > 0 {
			continue
		}
		if err := s.load(older); err == nil {
			older.altered = true // what the store holds is not its text
		}
	}
}

// carry hands to the order what an interrupted run had parked of a dataset.
func (s *shelf) carry(ctx context.Context, dataset string, r *receipt) error {
	mine := func(yield func(index.Waiter, error) bool) {
		for w, err := range s.store.All(index.Parked) {
			if (err != nil || w.Dataset == dataset) && !yield(w, err) {
				return
			}
		}
	}
	if err := s.takeUp(ctx, mine, r); err != nil {
		return fmt.Errorf("take up what the last run had parked: %w", err)
	}
	return nil
}

// takeUpAnswered hands to the order what was held back or cleaned for lack of objects that have been delivered since, or that a
// filter leaves out, and what OpenCTI could not import. Of what lacks others beside these the store takes note.
func (s *shelf) takeUpAnswered(ctx context.Context) error {
	return s.takeUp(ctx, s.store.Restart(func(key index.Key) bool {
		rec, _ := s.index.Lookup(key)
		return rec.Filtered != pipeline.Wanted || s.believed(key)
	}), nil)
}

// believed says that OpenCTI is thought to hold what has an id.
func (s *shelf) believed(key index.Key) bool {
	rec, found := s.index.Lookup(key)
	return found && s.order.trust.asReference(rec) == believed
}

// missing yields what objects lack that were held back or cleaned: each id, perhaps more than once.
func (s *shelf) missing(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for w, err := range s.store.All(index.HeldBack, index.Cleaned, index.Unimported) {
			switch {
			case ctx.Err() != nil:
				yield("", context.Cause(ctx))
				return
			case err != nil:
				s.log.Warn("an object that waits on disk cannot be read", zap.Error(err))
				continue
			}
			for _, ref := range w.Missing {
				if !s.believed(index.KeyOf(ref)) && !yield(ref, nil) {
					return
				}
			}
		}
	}
}
