package endtoend

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

var (
	simulationSeed  = flag.Uint64("simulation.seed", 0, "run this simulation only")
	simulationSeeds = flag.Uint64("simulation.seeds", 300, "run so many simulations")
)

// The whole connector runs in fake time against the three simulators, on a schedule of faults, stops, resets and changes
// at the source that a seed decides. A small model of the world says what must have arrived, at every state that the
// platform is sent and at the end.
func TestInAnyScheduleNothingIsLostAndNoStateClaimsTooMuch(t *testing.T) {
	first, last := uint64(1), *simulationSeeds
	switch {
	case testing.Short():
		last = min(last, 30)
	case withRaceDetector && last == 300:
		last = 60 // it finds a race in any of them, and takes five times as long; make test runs all without it, too
	}
	if *simulationSeed > 0 {
		first, last = *simulationSeed, *simulationSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) { simulate(t, seed, dir) })
		})
	}
}

// simulation is one world and the connector in it.
type simulation struct {
	*bubble
	rand  *rand.Rand
	world *simulatedWorld
	queue *simulatedQueue
	// resetPending says that no ping has come since the operator's reset.
	resetPending atomic.Bool
	// workDeleted says that the work of the run under way was deleted.
	workDeleted atomic.Bool
	noting      sync.Mutex
	steps       []string  // what happened, for the report of a failure; guarded by noting
	told        time.Time // when the run under way was told to stop, zero when it was not
}

func simulate(t *testing.T, seed uint64, dir string) {
	s := &simulation{rand: rand.New(rand.NewPCG(seed, 2)), queue: newSimulatedQueue(t)}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d:\n%s", seed, strings.Join(s.steps, "\n"))
		}
	}()
	s.start(t, seed, dir)
	for range 1 + s.rand.IntN(4) {
		s.disturbedRun()
	}
	s.calm()
	for attempt := 1; ; attempt++ {
		err := s.run(t.Context())
		if err == nil {
			break
		}
		if attempt == 5 {
			t.Fatalf("the connector does not recover: %v", err)
		}
	}
	s.queue.checkComplete(s.world)
	before := s.queue.sent()
	if err := s.run(t.Context()); err != nil {
		t.Fatalf("a run without anything new: %v", err)
	}
	if again := s.queue.sent() - before; again > 0 {
		t.Errorf("a run without anything new sent %d messages", again)
	}
	s.checkWorks()
}

func (s *simulation) start(t *testing.T, seed uint64, dir string) {
	s.world = newSimulatedWorld(t, seed)
	s.bubble = newBubble(t, dir,
		threatmatchtest.Config{Data: &s.world.data, PageSize: 3 + s.rand.IntN(8), Inclusive: s.rand.IntN(2) == 0, Latency: time.Duration(s.rand.IntN(200)) * time.Millisecond},
		rabbitmqtest.Config{Discard: true, OnMessage: s.queue.arrive},
		openctitest.Config{NoStateTimestamp: s.rand.IntN(4) == 0, Version: map[bool]string{true: "6.9.0"}[s.rand.IntN(4) == 0]},
		fmt.Sprintf("THREATMATCH_CONCURRENCY=%d", 1+s.rand.IntN(4)))
	s.platform.OnPing(func(p openctitest.Ping) { s.checkClaim(p.State) })
}

// expect reports an error without ending the goroutine, which need not be the test's.
func (s *simulation) expect(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Error(err)
	}
}

func (s *simulation) note(format string, args ...any) {
	s.noting.Lock()
	defer s.noting.Unlock()
	s.steps = append(s.steps, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// run runs the connector once.
func (s *simulation) run(ctx context.Context) error {
	s.note("run")
	err := s.bubble.run(ctx)
	s.workDeleted.Store(false)
	s.note("run ended: %v", err)
	return err
}

// disturbedRun runs the connector while things go wrong, until it ends, is stopped, or is cut off.
func (s *simulation) disturbedRun() {
	s.applyFaults()
	ctx, cancel := context.WithCancelCause(s.t.Context())
	done := make(chan struct{})
	events := make(chan struct{})
	plan := rand.New(rand.NewPCG(s.rand.Uint64(), 3))
	go func() { // what happens from outside, at moments of its own
		defer close(events)
		for range plan.IntN(6) {
			select {
			case <-time.After(time.Duration(plan.IntN(4000)) * time.Millisecond):
				s.event(plan, cancel)
			case <-done:
				return
			}
		}
		select { // no fault lasts longer than this
		case <-time.After(2 * time.Minute):
			s.calm()
		case <-done:
			return
		}
		select {
		case <-time.After(20 * time.Minute):
			cancel(errors.New("it takes too long"))
		case <-done:
		}
	}()
	_ = s.run(ctx)
	close(done)
	<-events
	cancel(nil)
	if took := time.Since(s.told); !s.told.IsZero() && took > mostToStop {
		s.t.Errorf("it took %s to stop", took)
	}
	s.told = time.Time{}
}

// calm ends all faults.
func (s *simulation) calm() {
	s.note("calm")
	s.api.ClearFaults()
	s.platform.ClearFaults()
	s.pipe.Refuse(false)
	s.broker.Unblock()
	s.expect(s.broker.Refuse(false))
	s.broker.RefuseAuth(false)
}

// errCut stands for a process that is killed: nothing is settled any more.
var errCut = fmt.Errorf("killed: %w", pipeline.ErrAbandon)

// event is something that happens from outside.
func (s *simulation) event(r *rand.Rand, cancel context.CancelCauseFunc) {
	switch r.IntN(9) {
	case 0:
		s.note("told to stop")
		if s.told.IsZero() {
			s.told = time.Now()
		}
		cancel(errors.New("told to stop"))
	case 1:
		s.note("killed")
		cancel(errCut)
	case 2:
		s.note("broker connections lost")
		s.broker.Drop()
	case 3:
		s.note("broker blocks")
		s.broker.Block("memory")
	case 4:
		if len(s.platform.Registrations()) == 0 {
			return
		}
		s.note("reset by an operator")
		s.expect(s.broker.Refuse(false)) // the platform purges the queue
		s.queue.forget()
		s.resetPending.Store(true)
		s.expect(s.platform.Reset())
		s.queue.forget()
	case 5:
		n := 1 + r.IntN(3)
		s.note("%d stale echoes", n)
		s.platform.StaleEcho(n)
	case 6:
		s.note("something changes at the source")
		s.world.change(s.t, r)
	case 7:
		if works := s.platform.Works(); len(works) > 0 && works[len(works)-1].Closed == 0 {
			id := works[len(works)-1].ID
			s.note("work %s deleted", id)
			s.workDeleted.Store(true)
			s.platform.DeleteWork(id)
			s.queue.deleteWork(id)
		}
	case 8:
		s.note("broker away")
		s.expect(s.broker.Refuse(true))
		s.broker.Drop()
	}
}

// applyFaults lays out what the remotes do wrong at their next calls.
func (s *simulation) applyFaults() {
	api := []threatmatchtest.Fault{
		threatmatchtest.Status(500), threatmatchtest.Status(503), threatmatchtest.RetryAfter("1"), threatmatchtest.Unauthorized(),
		threatmatchtest.ErrorBody(), threatmatchtest.HTML(), threatmatchtest.Body("null"), threatmatchtest.Truncated(20), threatmatchtest.Reset(),
		threatmatchtest.Status(404), threatmatchtest.Slow(3 * time.Second),
	}
	paths := []string{"/api/profiles/all", "/api/alerts/all", "/api/stix/*", "/api/taxii/*", "/api/developers-platform/*", "/api/*"}
	for range s.rand.IntN(4) {
		from := 1 + s.rand.IntN(25)
		rule := threatmatchtest.Rule{Path: paths[s.rand.IntN(len(paths))], From: from, To: from + s.rand.IntN(12), Do: api[s.rand.IntN(len(api))]}
		s.note("API fault at %s, calls %d to %d", rule.Path, rule.From, rule.To)
		s.api.Fault(rule)
	}
	platform := []openctitest.Do{
		openctitest.DropAnswer, openctitest.Refuse, openctitest.Status(502, "<html>Bad gateway</html>"), openctitest.Slow(5 * time.Second),
		openctitest.GraphQLError("FUNCTIONAL_ERROR", "not now"),
	}
	operations := []string{"pingConnector", "workAdd", "addExpectations", "toProcessed", "connector", "work", "registerConnector", "about"}
	for range s.rand.IntN(3) {
		from := 1 + s.rand.IntN(4)
		rule := openctitest.Rule{Operation: operations[s.rand.IntN(len(operations))], From: from, To: from + s.rand.IntN(4), Do: platform[s.rand.IntN(len(platform))]}
		s.note("platform fault at %s, calls %d to %d", rule.Operation, rule.From, rule.To)
		s.platform.Fault(rule)
	}
	broker := []rabbitmqtest.Fault{rabbitmqtest.Nack, rabbitmqtest.Return, rabbitmqtest.DropBefore, rabbitmqtest.DropAfter, rabbitmqtest.CloseChannel, rabbitmqtest.WithholdConfirm}
	for range s.rand.IntN(4) {
		at, fault := s.broker.Published()+1+s.rand.IntN(200), broker[s.rand.IntN(len(broker))]
		s.note("broker fault %v at message %d", fault, at)
		s.broker.FaultAt(at, fault)
	}
}

// checkClaim holds a state that the platform is sent against what has arrived by then.
func (s *simulation) checkClaim(text string) {
	c, err := readClaims(text)
	if err != nil {
		s.t.Error(err)
		return
	}
	if text == "" || text == "null" {
		s.resetPending.Store(false)
		return
	}
	if s.workDeleted.Load() {
		return // the connector learns that from its next call about the work, and takes back what the run has committed
	}
	if s.resetPending.Swap(false) {
		return // the connector cannot know of the reset yet: this ping is told of it, and its state is not stored
	}
	// An item that failed brings ends late; what was held back for them follows a moment after.
	owed := false
	for _, cursor := range c.Datasets {
		owed = owed || len(cursor.Failed)+len(cursor.Gone) > 0
	}
	if wrong := s.world.unproven(c, evidence{arrivals: &s.queue.arrivals, partial: owed, putOff: true}); len(wrong) > 0 {
		s.t.Errorf("at %s the state %s claims %d objects that have not arrived, such as %q", time.Now().Format("15:04:05.000"), text, len(wrong), wrong[:min(3, len(wrong))])
	}
}

// checkWorks looks at the books: closed at most once, and expecting no less than arrived.
func (s *simulation) checkWorks() {
	for _, w := range s.platform.Works() {
		if w.Closed > 1 {
			s.t.Errorf("work %s was closed %d times", w.ID, w.Closed)
		}
		if arrived := s.queue.different(w.ID); !w.Deleted && arrived > w.Expected {
			s.t.Errorf("work %s expects %d messages, but %d different ones arrived", w.ID, w.Expected, arrived)
		}
	}
}
