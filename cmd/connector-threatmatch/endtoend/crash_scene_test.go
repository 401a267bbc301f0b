package endtoend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// scene is one connector's life: its world, and what is known of it.
type scene struct {
	*world
	name string
	rng  *rand.Rand
	// forgetful lets the connector lose its folder now and then. The platform then answers what it holds, and is not
	// reset, for it would go on holding what the purge took away.
	forgetful bool
	byAPI     bool // it sends through OpenCTI's API
	source    *source
	arrived   *arrivals // what the queue holds for good
	wire      *wiretap
	log       *history

	fault    atomic.Bool // something failed on purpose in this process: it may end as failed
	process  atomic.Pointer[program]
	plan     atomic.Pointer[blow]
	counters map[string]*atomic.Int64
	// lostAnswers counts requests that the platform has carried out without the connector hearing of it.
	lostAnswers atomic.Int64
	side        sync.WaitGroup // of what happens meanwhile

	mu         sync.Mutex
	resetAsked bool // no ping has been told of the last reset yet
	// fresh are the objects that were confirmed to this process, restarts how often the broker was restarted before it.
	fresh     map[string]bool
	former    map[string]bool // the works that were there before this process
	restarts  int
	carried   func(id string) bool // whether an object waited on disk when this process began; nil when nobody knows
	began     claims               // the state that this process began with
	voidWorks int                  // how many works there were when the connector heard of the last reset
	partial   bool
	bad       []string
	story     []string // what has happened, for whoever looks into a failure
}

func newScene(t *testing.T, name string, seed uint64, log *history) *scene {
	rng := rand.New(rand.NewPCG(seed, 0))
	s := &scene{name: name, rng: rng, forgetful: seed%2 == 1, source: newSource(rng, sourceSize{60, 60, 1500}), arrived: &arrivals{}, log: log, counters: map[string]*atomic.Int64{}}
	for _, m := range moments {
		s.counters[m] = &atomic.Int64{}
	}
	s.byAPI = rng.IntN(3) == 0
	s.world = newWorld(t, worldConfig{realBroker: true, platform: openctitest.Config{Version: pick(rng, []string{"7.260817.0", "7.260901.0"})}, api: threatmatchtest.Config{
		Data: s.source.folder, Latency: 40 * time.Millisecond, PageSize: 20, NoGzip: true,
		OnCall: func(threatmatchtest.Call) { s.moment("call") },
	}})
	s.wire = tapWire(t, s.node.Addr(), 20*time.Millisecond, func() { s.moment("publish") }, s.confirmed)
	s.platform.OnOperation(func(string) { s.moment("operation") })
	s.platform.OnPing(s.pinged)
	if s.byAPI {
		s.env["CONNECTOR_QUEUE_PROTOCOL"] = "api"
		s.platform.OnQueued(func(body []byte) { s.moment("publish"); s.confirmed(body) })
	}
	return s
}

// moment counts and strikes when it is time.
func (s *scene) moment(kind string) {
	n := int(s.counters[kind].Add(1))
	b := s.plan.Load()
	if b == nil {
		return
	}
	if b.meanwhile != "" && b.mAt == kind && b.mN == n {
		s.meanwhile(b.meanwhile)
	}
	if p := s.process.Load(); p != nil && b.at == kind && b.n == n && b.signal != 0 {
		s.strike(p, b.signal)
	}
}

func (s *scene) strike(p *program, signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal) // it may have ended by itself
}

// confirmed notes what the broker has taken for good.
func (s *scene) confirmed(body []byte) {
	m, err := readDelivery(body)
	s.mu.Lock()
	if err != nil {
		s.bad = append(s.bad, err.Error())
	}
	s.arrived.note(m)
	if !s.former[m.Work] { // the platform can still queue what it was handed by a process that has died since
		s.fresh[m.ID] = true
	}
	if s.forgetful {
		s.platform.Hold(m.ID)
	}
	s.mu.Unlock()
	s.moment("confirm")
}

// pinged checks the state that a ping carries, at the moment of its arrival.
func (s *scene) pinged(p openctitest.Ping) {
	s.mu.Lock()
	switch {
	case !s.resetAsked:
		s.check("a ping", p.State, nil)
	case p.Marked: // else the platform has been working on it since before the reset
		s.resetAsked = false
		s.voidWorks = len(s.platform.Works()) // a run under way did not know until now
	}
	s.mu.Unlock()
	s.moment("ping")
}

// check looks for what a state claims and is not so; s.mu is held.
func (s *scene) check(when, state string, onDisk func(string) bool) {
	c, err := readClaims(state)
	if err != nil {
		s.bad = append(s.bad, err.Error())
	}
	wrong := s.source.unproven(c, evidence{arrivals: s.arrived, onDisk: onDisk, partial: s.partial})
	s.log.add("states checked")
	if len(c.Datasets) > 0 {
		s.log.add("states with claims")
	}
	if len(wrong) > 0 {
		s.bad = append(s.bad, fmt.Sprintf("%s: the state claims %d objects that are not there, such as %q; state %s",
			when, len(wrong), wrong[:min(3, len(wrong))], state))
	}
}

// meanwhile does something to a running connector that is no signal.
func (s *scene) meanwhile(what string) {
	s.log.add(what)
	switch what {
	case "reset":
		s.fault.Store(true)
		s.aside(s.reset)
	case "stale":
		s.platform.StaleEcho(1 + s.counter("call")%3)
	case "lost answer":
		s.lostAnswers.Add(1)
		s.platform.Fault(openctitest.Rule{From: 1, To: 1, Do: openctitest.DropAnswer})
	case "cut":
		s.aside(s.wire.cut)
	case "grow":
		s.aside(s.source.grow)
	case "page fails":
		s.fault.Store(true)
		s.mu.Lock()
		s.partial = true
		s.mu.Unlock()
		s.api.Fault(threatmatchtest.Rule{Path: "/api/*", To: 1, Do: threatmatchtest.Status(404)})
	}
}

// aside does something beside a process, unless that has ended.
func (s *scene) aside(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan.Load() != nil {
		s.side.Go(do)
	}
}

func (s *scene) counter(kind string) int { return int(s.counters[kind].Load()) }

// reset is what an operator does: the state and the queue are emptied.
func (s *scene) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.platform.Reset(); err != nil {
		return // the broker is away: the platform marks the connector all the same, and purges nothing
	}
	s.arrived.forget()
	s.resetAsked, s.partial = true, false
	s.voidWorks = len(s.platform.Works())
}

// resetBetween is a reset while no process runs. The platform can still be working on a ping of the one that died: late says
// that it stores that one's state when it has stored the reset.
func (s *scene) resetBetween(late bool) {
	last := s.platform.State()
	s.reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	if late && s.resetAsked && last != "" {
		s.platform.SetState(last)
		s.log.add("covered resets")
	}
}

// ended checks what a process left behind, and returns the signal that it died of.
func (s *scene) ended(b blow, p *program, status int) (died syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case status == -int(syscall.SIGKILL):
		died = syscall.SIGKILL
		s.log.add("killed")
	case strings.Contains(p.output(), "stopped by signal") || status < 0:
		died = syscall.SIGTERM
		s.log.add("terminated")
	default:
		s.log.add("ended with status " + strconv.Itoa(status))
	}
	switch {
	case status > 1 || strings.Contains(p.output(), "panic:"):
		s.bad = append(s.bad, fmt.Sprintf("exit status %d", status))
	case status == 1 && b.signal == 0 && !s.fault.Load():
		s.bad = append(s.bad, "it failed without a reason")
	case status == 0 && died != 0:
		s.bad = append(s.bad, "it was interrupted and says that all is well")
	}
	// A state that a ping has put back is one of before the reset, and the next process knows it by that.
	if c, _ := readClaims(s.platform.State()); !s.resetAsked && (c.Reset.IsZero() || !c.Reset.Before(s.platform.LastReset())) {
		waiting, ok := s.look()
		if ok {
			s.check("after "+b.String(), s.platform.State(), waiting)
		}
		if died == syscall.SIGTERM {
			if !ok {
				waiting = nil
			}
			s.checkFarewell(b, p, waiting)
		}
	}
	if len(s.bad) > 0 {
		s.bad = append(s.bad, "the last process said: "+p.tail())
	}
	return died
}

// checkFarewell wants a process that was told to stop to have committed what it had delivered. One that had to leave
// something unsettled, because there was no more time for it, commits up to there; s.mu is held.
func (s *scene) checkFarewell(b blow, p *program, onDisk func(string) bool) {
	if slices.Contains([]string{"reset", "page fails", "lost answer", "cut"}, b.meanwhile) || s.log.count("broker restarts") != s.restarts {
		return
	}
	if p.logs("settle what is under way within") || p.logs("commit what was delivered within") {
		s.log.add("farewells that were too short")
		return
	}
	c, err := readClaims(s.platform.State())
	if err != nil {
		return // said already
	}
	finished, forgotten := s.source.forgotten(s.began, c, evidence{arrivals: s.arrived, own: func(id string) bool { return s.fresh[id] }, onDisk: onDisk}, s.isNews)
	s.log.addN("delivered before a farewell", finished)
	if len(forgotten) > 0 {
		s.bad = append(s.bad, fmt.Sprintf("%d of the %d items and indicators that it had delivered are not in the state, such as %q; state %s",
			len(forgotten), finished, forgotten[:min(3, len(forgotten))], s.platform.State()))
	}
}

// isNews says that the last process has fetched the one item that an object is of: it was confirmed to it, and did not
// wait on disk, from where it is sent without its item; s.mu is held.
func (s *scene) isNews(id string) bool {
	return s.fresh[id] && !s.source.shared(id) && (s.carried == nil || !s.carried(id))
}

// look opens a copy of the connector's folder and tells what waits there.
func (s *scene) look() (waiting func(string) bool, ok bool) {
	c, err := readClaims(s.platform.State())
	if err != nil || c.Index == "" {
		return func(string) bool { return false }, false
	}
	copied := filepath.Join(s.t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(s.stateDir)); err != nil {
		return nil, false // no process has made the folder yet
	}
	identity, err := s.identity()
	if err != nil {
		s.bad = append(s.bad, err.Error())
		return nil, false
	}
	x, _, err := index.Open(context.Background(), copied, identity, index.Options{})
	if err != nil {
		s.bad = append(s.bad, fmt.Sprintf("open the index that was left: %v", err))
		return nil, false
	}
	defer x.Close()
	if x.ID() != c.Index {
		return nil, false // the next process goes back to what was delivered
	}
	there := map[string]bool{}
	for w, err := range x.Waiting().All() {
		if err == nil {
			there[w.Object.ID] = true
		}
	}
	return func(id string) bool { return there[id] }, true
}

func (s *scene) identity() (index.Identity, error) {
	cfg, _, err := config.Load("", false, s.environ())
	return connector.Identity(cfg), err
}

// checkArrivals wants everything after what it refers to. What a run sent that was under way when the queue was purged
// does not count.
func (s *scene) checkArrivals(messages []delivery) {
	void := map[string]bool{}
	for _, work := range s.platform.Works()[:s.voidWorks] {
		void[work.ID] = true
	}
	early := earlyReferences(messages, nil, void)
	if len(early) > 0 {
		s.bad = append(s.bad, fmt.Sprintf("%d references come before what they lead to, or without it, such as %q", len(early), early[:min(3, len(early))]))
	}
}

// checkWorks wants no work to get more messages than it was told to expect, none closed twice, and the last one exact.
func (s *scene) checkWorks(messages []delivery) {
	numbers, counts := map[string]map[int64]bool{}, map[string]int{}
	for _, m := range messages {
		if numbers[m.Work] == nil {
			numbers[m.Work] = map[int64]bool{}
		}
		numbers[m.Work][m.Number] = true
		counts[m.Work]++
	}
	for _, work := range s.platform.Works() {
		got := len(numbers[work.ID])
		if s.byAPI { // messages have no numbers there, and one that comes twice may be expected twice
			got = counts[work.ID]
		}
		twice := s.byAPI && (s.lostAnswers.Load() > 0 || s.log.count("broker restarts") > 0)
		delete(numbers, work.ID)
		if got > work.Expected && !twice || int64(work.Closed) > 1+s.lostAnswers.Load() ||
			work.Closed == 1 && !work.InError && (got < work.Expected || got > work.Expected && !twice) && !s.purged(work) {
			s.bad = append(s.bad, fmt.Sprintf("a work expects %d messages and has %d, was closed %d times, in error %t",
				work.Expected, got, work.Closed, work.InError))
		}
	}
	if len(numbers) > 0 {
		s.bad = append(s.bad, fmt.Sprintf("messages of %d works that nobody opened", len(numbers)))
	}
}

// purged says that an operator's reset may have taken messages of the work away; s.mu is held.
func (s *scene) purged(work openctitest.Work) bool {
	return slices.ContainsFunc(s.platform.Works()[:s.voidWorks], func(w openctitest.Work) bool { return w.ID == work.ID })
}
