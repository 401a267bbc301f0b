package endtoend

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// moments are what a process can be killed at: the n-th of a kind, or a time after its start.
var moments = []string{"call", "call", "publish", "publish", "confirm", "confirm", "operation", "ping", "ping", "time", "time"}

// blow is what happens to one process.
type blow struct {
	signal syscall.Signal // 0: none
	at     string
	n      int
	// meanwhile happens at a moment of its own: "", "reset", "stale", "lost answer", "cut", "grow", "page fails".
	meanwhile string
	mAt       string
	mN        int
	// disk is what becomes of CONNECTOR_STATE_DIR before the process: "", "lost", "unwritable".
	disk string
}

func (b blow) String() string {
	text := fmt.Sprintf("%v at %s %d", b.signal, b.at, b.n)
	if b.signal == 0 {
		text = "no signal"
	}
	if b.meanwhile != "" {
		text += fmt.Sprintf(", %s at %s %d", b.meanwhile, b.mAt, b.mN)
	}
	if b.disk != "" {
		text += ", state folder " + b.disk
	}
	return text
}

// draw plans what happens to the next process.
func (s *scene) draw(signal syscall.Signal) blow {
	b := blow{signal: signal, at: pick(s.rng, moments)}
	b.n = s.drawMoment(b.at)
	switch s.rng.IntN(16) {
	case 0:
		if !s.forgetful {
			b.meanwhile = "reset"
		}
	case 1, 2:
		b.meanwhile = "stale"
	case 3, 4:
		b.meanwhile = "lost answer"
	case 5, 6:
		b.meanwhile = "cut"
	case 7, 8, 9:
		b.meanwhile = "grow"
	case 10:
		// What relations then wait for lies on the disk alone, and is lost with it.
		if !s.forgetful {
			b.meanwhile = "page fails"
		}
	}
	if b.meanwhile != "" {
		b.mAt = moments[s.rng.IntN(len(moments)-2)] // a time has no hook
		b.mN = max(1, s.drawMoment(b.mAt)/2)
	}
	if s.forgetful {
		b.disk = []string{"", "", "", "lost", "unwritable"}[s.rng.IntN(5)]
	}
	return b
}

func (s *scene) drawMoment(kind string) int {
	most := map[string]int{"call": 160, "publish": 1500, "confirm": 1500, "operation": 16, "ping": 4, "time": 4000}[kind]
	return 1 + s.rng.IntN(most)
}

// live runs one process through its blow and returns the signal that it died of, 0 when it came to its own end.
func (s *scene) live(b blow) syscall.Signal {
	if b.disk == "lost" {
		s.forgetIndex()
	}
	dir := s.stateDir
	if b.disk == "unwritable" {
		dir = "/proc/none"
	}
	s.begin(&b)
	p := s.start("MQ_HOST=127.0.0.1", "MQ_PORT="+strconv.Itoa(s.wire.port()), "CONNECTOR_STATE_DIR="+dir, "CONNECTOR_LOG_LEVEL=info")
	s.process.Store(p)
	if b.signal != 0 && b.at == "time" {
		timer := time.AfterFunc(time.Duration(b.n)*time.Millisecond, func() { s.strike(p, b.signal) })
		defer timer.Stop()
	}
	status := p.wait()
	s.process.Store(nil)
	s.mu.Lock()
	s.plan.Store(nil) // nothing more happens beside it
	s.mu.Unlock()
	s.side.Wait()
	s.api.ClearFaults()
	s.platform.ClearFaults()
	return s.ended(b, p, status)
}

// begin forgets what belongs to the process before.
func (s *scene) begin(b *blow) {
	s.wire.quiet()
	for _, c := range s.counters {
		c.Store(0)
	}
	s.mu.Lock()
	s.began, _ = readClaims(s.platform.State()) // checked when it came
	s.fresh, s.restarts = map[string]bool{}, s.log.count("broker restarts")
	s.former = map[string]bool{}
	for _, work := range s.platform.Works() {
		s.former[work.ID] = true
	}
	s.carried, _ = s.look()
	s.mu.Unlock()
	s.fault.Store(false)
	s.process.Store(nil)
	s.plan.Store(b)
}

// settle runs the connector until a run is complete, and looks whether everything is there.
func (s *scene) settle() {
	s.log.broker.RLock() // it is there from now on: what fails has no excuse
	defer s.log.broker.RUnlock()
	complete := false
	for attempt := 0; attempt < 6 && !complete; attempt++ {
		s.live(blow{at: "none"})
		complete = s.programs[len(s.programs)-1].cmd.ProcessState.ExitCode() == 0
	}
	if !complete {
		s.bad = append(s.bad, "no run completes: "+s.programs[len(s.programs)-1].tail())
		return
	}
	messages := s.take()
	s.log.addN("messages", len(messages))
	s.mu.Lock()
	defer s.mu.Unlock()
	if wrong := s.source.missing(messages, evidence{arrivals: s.arrived}, s.forgetful); len(wrong) > 0 {
		s.bad = append(s.bad, fmt.Sprintf("%d things are wrong in the queue, such as %q", len(wrong), wrong[:min(5, len(wrong))]))
	}
	if c, _ := readClaims(s.platform.State()); c.LastRun.IsZero() {
		s.bad = append(s.bad, "a complete run leaves no last_run: "+s.platform.State())
	}
	s.checkArrivals(messages)
	s.checkWorks(messages)
}

// quota is how many processes still have to die of what.
type quota struct {
	mu    sync.Mutex
	rng   *rand.Rand
	kills int
	terms int
	most  int // processes that may be started in all: some end before they are struck, and none must go on for ever
}

// next draws a signal, 0 when enough have died.
func (q *quota) next() syscall.Signal {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := max(0, q.kills) + max(0, q.terms)
	if q.most--; left == 0 || q.most < 0 {
		return 0
	}
	if q.rng.IntN(left) < q.kills {
		return syscall.SIGKILL
	}
	return syscall.SIGTERM
}

func (q *quota) died(of syscall.Signal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if of == syscall.SIGKILL {
		q.kills--
	} else if of == syscall.SIGTERM {
		q.terms--
	}
}

// play lets processes die, one after another, until one gets through or there were enough of them, and then looks
// whether everything is there.
func (s *scene) play(q *quota) {
	for range 12 {
		signal := q.next()
		if signal == 0 {
			break
		}
		b := s.draw(signal)
		s.story = append(s.story, b.String())
		died := s.live(b)
		q.died(died)
		if s.failed("after " + b.String()) {
			return
		}
		if !s.forgetful && s.rng.IntN(12) == 0 {
			s.log.add("reset")
			s.story = append(s.story, "reset")
			s.resetBetween(s.rng.IntN(2) == 0)
		} else if died == 0 {
			break // what is left to do is too little to be struck in
		}
		if s.rng.IntN(3) == 0 {
			s.story = append(s.story, "grow")
			s.source.grow()
		}
	}
	s.settle()
	s.failed("at the end")
}

func (s *scene) failed(when string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range s.bad {
		s.t.Errorf("%s, %s: %s", s.name, when, text)
	}
	failed := len(s.bad) > 0
	if failed {
		s.t.Logf("%s: %s", s.name, strings.Join(s.story, "; "))
	}
	s.bad = nil
	return failed
}

// lanes plays scenes, some side by side, until enough processes have died.
func lanes(t *testing.T, seed uint64, kills, terms int, log *history) {
	const side = 4 // a process mostly waits for answers
	q := &quota{rng: rand.New(rand.NewPCG(seed, 1)), kills: kills, terms: terms, most: 20 * (kills + terms)}
	var all sync.WaitGroup
	for lane := range side {
		all.Go(func() {
			for act := 0; !q.empty() && !t.Failed(); act++ {
				name := fmt.Sprintf("seed %d lane %d act %d", seed, lane, act)
				newScene(t, name, seed<<16|uint64(act)<<8|uint64(lane+act), log).play(q)
			}
		})
	}
	all.Wait()
	if !t.Failed() && !q.done() {
		t.Errorf("too few processes were struck: %d kills and %d terminations are left", q.kills, q.terms)
	}
}

// empty says that nobody has to die any more, or that too many have been started.
func (q *quota) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.kills <= 0 && q.terms <= 0 || q.most <= 0
}

func (q *quota) done() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.kills <= 0 && q.terms <= 0
}

func TestNothingIsLostHoweverTheProcessDies(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	seed := crashSeed(t)
	log := &history{counts: map[string]int{}}
	node := sharedNode(t)
	done := make(chan struct{})
	var restarts sync.WaitGroup
	restarts.Go(func() { restartNode(t, node, seed, 15*time.Second, 1, done, log) })
	lanes(t, seed, 25, 10, log)
	close(done)
	restarts.Wait()
	t.Logf("SEED=%d: %s", seed, log)
}

// history counts what a crash test has done, and says it at the end.
type history struct {
	broker sync.RWMutex // held while the broker is restarted, or while it must not be
	mu     sync.Mutex
	counts map[string]int
}

func (h *history) add(what string) { h.addN(what, 1) }

func (h *history) addN(what string, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[what] += n
}

func (h *history) count(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[what]
}

func (h *history) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(h.counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, h.counts[what]))
	}
	return strings.Join(parts, ", ")
}

// crashSeed is SEED, else another one each time.
func crashSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SEED: %v", err)
		}
	}
	t.Logf("SEED=%d", seed)
	return seed
}
