package endtoend

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

var (
	simulationSeed  = flag.Uint64("simulation.seed", 0, "run this simulation only")
	simulationSeeds = flag.Uint64("simulation.seeds", 150, "run so many simulations")
)

// The whole connector runs in fake time against the three simulators, on a schedule of faults, stops, resets, changes at the
// source, and of what OpenCTI's operators do, that a seed decides. A small model of the world says what must have arrived at
// every state that the platform is sent, and what OpenCTI must hold in the end.
func TestInAnyScheduleNothingIsLostAndNoStateClaimsTooMuch(t *testing.T) {
	first, last := uint64(1), *simulationSeeds
	switch {
	case testing.Short():
		last = min(last, 30)
	case withRaceDetector && last == 150:
		last = 10 // it finds a race in any of them, and takes five times as long; make test runs all without it, too
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
	dir     string // where the folders of the connector's processes are
	rand    *rand.Rand
	world   *simulatedWorld
	workers *simulatedWorkers
	log     *observer.ObservedLogs
	// resetPending says that no ping has come since the operator's reset.
	resetPending atomic.Bool
	known        foreignKnowledge
	// claimedTooMuch says that a state has claimed too much: those after it mostly do as well.
	claimedTooMuch atomic.Bool
	noting         sync.Mutex
	steps          []string              // what happened, for the report of a failure; guarded by noting
	told           time.Time             // when the run under way was told to stop, zero when it was not
	lives          int                   // processes that were killed
	killed         atomic.Bool           // the process under way is one of them
	final          []openctitest.Failure // of imports, however often they are tried
	backups        []simulatedBackup
	restored       bool            // one of them was put back
	removed        map[string]bool // objects that were deleted from OpenCTI
	unknown        map[string]bool // works of which the state need not tell, or not rightly
}

func simulate(t *testing.T, seed uint64, dir string) {
	s := &simulation{dir: dir, rand: rand.New(rand.NewPCG(seed, 2)), unknown: map[string]bool{}, removed: map[string]bool{}, known: foreignKnowledge{since: map[string]time.Time{}}}
	defer func() {
		if t.Failed() {
			t.Logf("seed %d:\n%s", seed, s.story())
		}
	}()
	s.start(t, seed)
	stop := make(chan struct{})
	go s.workers.work(stop)
	defer func() {
		close(stop)
		<-s.workers.ended
	}()
	for range 1 + s.rand.IntN(4) {
		s.disturbedRun()
		s.betweenRuns()
	}
	s.calm()
	s.passFailures()
	close(s.workers.hurry)
	s.comeToRest("after the faults")
	s.check("in the end", s.namedOrItsWork, s.excused)
	time.Sleep(48 * time.Hour) // what the index knows is due for verification
	s.world.listAgain(t, s.platform)
	s.comeToRest("when all was listed again")
	s.check("when all was listed again", s.named, func(string) bool { return false })
	s.checkWorks()
}

func (s *simulation) start(t *testing.T, seed uint64) {
	s.world = newSimulatedWorld(t, seed)
	s.workers = newSimulatedWorkers(rand.New(rand.NewPCG(seed, 5)))
	versions := []string{"", "", "", "6.9.0", "6.0.9"} // newest, without works of many parts, without questions for many
	oneIn := func(n int) bool { return s.rand.IntN(n) == 0 }
	s.bubble = newBubble(t, filepath.Join(s.dir, "0"),
		threatmatchtest.Config{Data: &s.world.data, PageSize: 3 + s.rand.IntN(8), Inclusive: oneIn(2), Latency: time.Duration(s.rand.IntN(200)) * time.Millisecond},
		rabbitmqtest.Config{OnMessage: func(m rabbitmqtest.Message) { s.workers.arrive(m.Body) }},
		openctitest.Config{NoStateTimestamp: oneIn(4), Version: versions[s.rand.IntN(len(versions))], TellsDeadWorks: oneIn(4)},
		fmt.Sprintf("THREATMATCH_CONCURRENCY=%d", 1+s.rand.IntN(4)), "CONNECTOR_VERIFY_AFTER=P1D", "CONNECTOR_DURATION_PERIOD=PT10M")
	s.workers.t, s.workers.platform, s.workers.queue, s.workers.look = t, s.platform, bubbleMessages{s.broker}, s.checkCuts
	level := zapcore.InfoLevel
	if *simulationSeed > 0 {
		level = zapcore.DebugLevel
	}
	core, logs := observer.New(level)
	s.bubble.log, s.log = zap.New(core), logs
	s.platform.OnPing(func(p openctitest.Ping) { s.checkClaim(p.State) })
	for _, id := range foreign {
		if oneIn(2) {
			s.hold(id, time.Time{})
		}
	}
}

// expect reports an error without ending the goroutine, which need not be the test's.
func (s *simulation) expect(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Error(err)
	}
}

const stepTime = "2006-01-02 15:04:05.000"

func (s *simulation) note(format string, args ...any) {
	s.noting.Lock()
	defer s.noting.Unlock()
	s.steps = append(s.steps, time.Now().Format(stepTime)+" "+fmt.Sprintf(format, args...))
}

// story is what happened and what the connector said to it.
func (s *simulation) story() string {
	s.noting.Lock()
	defer s.noting.Unlock()
	lines := slices.Clone(s.steps)
	for _, l := range s.log.All() {
		lines = append(lines, fmt.Sprintf("%s     %s: %s %v", l.Time.Format(stepTime), l.Level, l.Message, l.ContextMap()))
	}
	for _, p := range s.platform.Pings() {
		lines = append(lines, fmt.Sprintf("%s     ping: %s", p.Time.Format(stepTime), p.State))
	}
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[:len(stepTime)], b[:len(stepTime)]) })
	for _, w := range s.platform.Works() {
		lines = append(lines, fmt.Sprintf("work %s: expected %d, processed %d, closed %d, complete %t, deleted %t, %d errors",
			w.ID, w.Expected, w.Processed, w.Closed, w.Complete, w.Deleted, len(w.Errors)))
	}
	return strings.Join(lines, "\n")
}

// run lets the connector live: for one run, or until ctx ends.
func (s *simulation) run(ctx context.Context, once bool) error {
	s.note("the connector starts (once: %t)", once)
	s.cfg.Connector.RunAndTerminate = once
	err := s.bubble.run(ctx)
	s.note("the connector has ended: %v", err)
	if s.killed.Swap(false) {
		s.lives++
		s.cfg.Connector.StateDir = filepath.Join(s.dir, fmt.Sprint(s.lives))
		s.calm()
	}
	return err
}

// disturbedRun runs the connector while things go wrong, until it ends, is stopped, or is cut off.
func (s *simulation) disturbedRun() {
	s.applyFaults()
	once := s.rand.IntN(2) == 0
	ctx, cancel := context.WithCancelCause(s.t.Context())
	done := make(chan struct{})
	events := make(chan struct{})
	plan := rand.New(rand.NewPCG(s.rand.Uint64(), 3))
	wait := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-done:
			return false
		}
	}
	go func() { // what happens from outside, at moments of its own
		defer close(events)
		for range plan.IntN(8) {
			gap := time.Duration(plan.IntN(4000)) * time.Millisecond
			if !once && plan.IntN(3) == 0 {
				gap *= 300
			}
			if !wait(gap) {
				return
			}
			if s.event(plan, cancel); s.killed.Load() {
				return
			}
		}
		longest := 2 * time.Minute // that a fault lasts
		if plan.IntN(4) == 0 {
			longest = 15 * time.Minute
		}
		if !wait(longest) {
			return
		}
		s.calm()
		if !wait(time.Duration(20+plan.IntN(40)) * time.Minute) {
			return
		}
		s.stop(cancel)
	}()
	_ = s.run(ctx, once)
	ended := time.Now()
	close(done)
	<-events
	cancel(nil)
	if took := ended.Sub(s.told); !s.told.IsZero() && took > mostToStop {
		s.t.Errorf("it took %s to stop", took)
	}
	s.told = time.Time{}
}

// betweenRuns lets some time pass while no connector runs.
func (s *simulation) betweenRuns() {
	for range s.rand.IntN(3) {
		time.Sleep(time.Duration(s.rand.IntN(30*60)) * time.Second)
		s.operate(s.rand)
	}
	switch s.rand.IntN(3) {
	case 0:
		time.Sleep(time.Duration(s.rand.IntN(36)) * time.Hour)
	case 1:
		time.Sleep(time.Duration(s.rand.IntN(90)) * time.Minute)
	}
}

// comeToRest runs the connector, and lets days pass and the workers go on, until all is done.
func (s *simulation) comeToRest(when string) {
	const (
		mostFailures = 5
		mostRuns     = 12
	)
	pauses := []time.Duration{2 * time.Hour, 8 * 24 * time.Hour, 2 * time.Hour}
	failures := 0
	for runs, quiet := 0, 0; quiet < len(pauses); runs++ {
		if runs == mostRuns {
			s.t.Errorf("%s the connector does not come to rest", when)
			return
		}
		sent := s.workers.sent()
		if err := s.run(s.t.Context(), true); err != nil {
			if failures++; failures == mostFailures {
				s.t.Fatalf("%s the connector does not recover: %v", when, err)
			}
			continue
		}
		for !s.workers.queue.empty() {
			time.Sleep(time.Minute)
		}
		time.Sleep(pauses[quiet])
		if quiet++; s.workers.sent() > sent {
			quiet = min(quiet, 1)
		}
	}
}

// check holds what OpenCTI holds against what it should, but for what is excused if it is not there.
func (s *simulation) check(when string, named, excused func(id string) bool) {
	wrong := s.world.amiss(s.platform, named, excused)
	for _, text := range wrong[:min(10, len(wrong))] {
		id, _, _ := strings.Cut(text, " ")
		s.t.Errorf("%s %s (%s)", when, text, s.workers.history(id))
	}
	if len(wrong) > 10 {
		s.t.Errorf("%s %d things are amiss", when, len(wrong))
	}
}

// named says whether the connector has named an object as one that OpenCTI does not get.
func (s *simulation) named(id string) bool {
	return slices.ContainsFunc(s.log.FilterLevelExact(zapcore.ErrorLevel).All(), func(l observer.LoggedEntry) bool {
		return strings.Contains(fmt.Sprint(l.Message, l.ContextMap()), id)
	})
}

// namedOrItsWork says the same also where only the work could be named: OpenCTI tells no more than a hundred failed imports
// of one, and a backup does not tell what lay in the queue when it was made. Such objects come with their items.
func (s *simulation) namedOrItsWork(id string) bool {
	unsaid, restored := s.workers.unsaidWork(id), s.workers.restoredWork(id)
	return s.named(id) || unsaid != "" && s.named(unsaid) || restored != "" && s.named(restored)
}

// excused says that something need not be at OpenCTI, or not referred to, before the items come again: what an operator deleted,
// and what others bring after a restored backup, for what waits for it on disk goes with the index.
func (s *simulation) excused(id string) bool {
	return s.removed[id] || s.restored && slices.Contains(foreign, id)
}

// kill ends the process under way as SIGKILL does: nothing that it does from now on reaches anything, and the next process
// finds its folder as it is at this moment.
func (s *simulation) kill(cancel context.CancelCauseFunc) {
	synctest.Wait()
	s.note("killed")
	s.killed.Store(true)
	if folder := s.cfg.Connector.StateDir; exists(folder) {
		s.expect(os.CopyFS(filepath.Join(s.dir, fmt.Sprint(s.lives+1)), os.DirFS(folder)))
	}
	s.platform.Fault(openctitest.Rule{From: 1, To: -1, Do: openctitest.Refuse})
	s.expect(s.broker.Refuse(true))
	s.broker.Drop()
	cancel(errCut)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// stop tells the connector to stop.
func (s *simulation) stop(cancel context.CancelCauseFunc) {
	s.note("told to stop")
	if s.told.IsZero() {
		s.told = time.Now()
	}
	cancel(errors.New("told to stop"))
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
