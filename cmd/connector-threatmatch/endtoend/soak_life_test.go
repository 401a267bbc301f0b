//go:build linux

package endtoend

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// soakLife is a connector on its schedule for the whole of a soak, with workers that import what it delivers, while troubles come
// and go and ThreatMatch has something new every second or two.
type soakLife struct {
	*world
	name    string
	seed    uint64
	rng     *rand.Rand // of the troubles
	source  *source
	wire    *wiretap
	workers *simulatedWorkers
	disk    *soakDisk
	offset  atomic.Int64 // of ThreatMatch's clock
	metrics int          // port
	record  *soakRecord
	program atomic.Pointer[program]
	dead    int // processes that were ended

	mu         sync.Mutex
	resetAsked bool // no ping has been told of the last reset yet
	wrong      int  // states that claimed too much; the first are told
}

func newSoakLife(t *testing.T, name string, seed uint64) *soakLife {
	l := &soakLife{name: name, seed: seed, rng: rand.New(rand.NewPCG(seed, 11)), source: newSource(rand.New(rand.NewPCG(seed, 12)), sourceSize{60, 60, 1500}), metrics: freePort(t)}
	l.source.now = l.now
	l.world = newWorld(t, worldConfig{realBroker: true, api: threatmatchtest.Config{
		Data: l.source.folder, PageSize: 50, Latency: 5 * time.Millisecond, Now: l.now,
	}})
	if l.disk = newSoakDisk(t); l.disk != nil {
		l.stateDir = filepath.Join(l.disk.dir, "state")
		l.env["CONNECTOR_STATE_DIR"] = l.stateDir
	}
	for name, value := range map[string]string{
		"CONNECTOR_RUN_AND_TERMINATE": "false", "CONNECTOR_DURATION_PERIOD": "PT30S", "CONNECTOR_LOG_LEVEL": "info",
		"CONNECTOR_EXPOSE_METRICS": "true", "CONNECTOR_METRICS_PORT": strconv.Itoa(l.metrics),
	} {
		l.env[name] = value
	}
	l.workers = newSimulatedWorkers(rand.New(rand.NewPCG(seed, 13)))
	queue := &nodeMessages{url: l.node.URL(), name: l.queue()}
	t.Cleanup(queue.close)
	l.workers.t, l.workers.platform, l.workers.queue = t, l.platform, queue
	l.workers.rest = func(r *rand.Rand) (time.Duration, bool) { return time.Duration(r.IntN(400)) * time.Millisecond, true }
	again := time.NewTicker(time.Second)
	t.Cleanup(again.Stop)
	l.workers.again = again.C
	l.wire = tapWire(t, l.node.Addr(), 0, func() {}, l.workers.arrive)
	l.env["MQ_HOST"], l.env["MQ_PORT"] = "127.0.0.1", strconv.Itoa(l.wire.port())
	l.platform.OnPing(l.pinged)
	return l
}

// now is ThreatMatch's clock.
func (l *soakLife) now() time.Time { return time.Now().Add(time.Duration(l.offset.Load())) }

// pinged holds the state that a ping carries, at the moment of its arrival, against what has arrived.
func (l *soakLife) pinged(p openctitest.Ping) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.resetAsked {
		l.resetAsked = !p.Marked
		return
	}
	c, err := readClaims(p.State)
	if err != nil {
		l.t.Error(err)
		return
	}
	c = c.without(l.workers.isDead)
	owed := false // an item that failed brings ends late, and what was held back for them follows a moment after
	for _, cursor := range c.Datasets {
		owed = owed || len(cursor.Failed)+len(cursor.Gone) > 0
	}
	l.record.states.Add(1)
	wrong := l.source.unproven(c, evidence{arrivals: &l.workers.arrivals, partial: owed, doubtful: l.workers.doubtful})
	if len(wrong) == 0 {
		return
	}
	if l.wrong++; l.wrong < 4 {
		l.t.Errorf("%s, at %s: the state claims %d objects that have not arrived, such as %q; state %s", l.name, time.Now().Format(stepTime), len(wrong), wrong[:min(3, len(wrong))], p.State)
	}
}

// isRight says that no state has claimed too much.
func (l *soakLife) isRight() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrong == 0
}

// reset is what an operator does.
func (l *soakLife) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.platform.Reset() != nil {
		return // the broker is away: nothing is purged
	}
	l.workers.purge()
	l.resetAsked = true
}

// live starts the connector, lets troubles come and go until the end, and then looks whether OpenCTI holds all. mortal says that
// the connector is killed and stopped now and then.
func (l *soakLife) live(end time.Time, mortal bool) {
	stop := make(chan struct{})
	var beside sync.WaitGroup
	defer func() { close(stop); beside.Wait(); <-l.workers.ended }()
	go l.workers.work(stop)
	beside.Go(func() { l.keepGrowing(end, stop) })
	l.program.Store(l.start())
	beside.Go(func() { l.record.watch(l, stop) })
	for time.Now().Before(end) && l.isRight() {
		l.suffer()
		if mortal && l.rng.IntN(2) == 0 {
			l.die()
		}
		l.mustLive()
		wait(time.Duration(2+l.rng.IntN(12))*time.Second, stop)
	}
	l.comeToRest()
}

// wait waits, but no longer than until stop is closed.
func wait(d time.Duration, stop <-chan struct{}) (whole bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
		return false
	}
}

// keepGrowing lets ThreatMatch have something new every second or two.
func (l *soakLife) keepGrowing(end time.Time, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(l.seed, 14))
	for time.Now().Before(end) && wait(time.Duration(500+r.IntN(2000))*time.Millisecond, stop) {
		l.source.grow()
	}
}

// die ends the process, and starts another.
func (l *soakLife) die() {
	p := l.program.Load()
	kind := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[l.rng.IntN(2)]
	l.record.note(kind.String())
	p.signal(kind)
	status := p.wait()
	unheard := status == -int(syscall.SIGTERM) && p.output() == "" // before the program's own first step
	if status != -int(syscall.SIGKILL) && status != exitOK && status != exitRunFailed && !unheard {
		l.t.Errorf("%s: exit status %d\n%s", l.name, status, p.tail())
	}
	l.dead++
	if kind == syscall.SIGKILL {
		l.wire.quiet()
	}
	l.program.Store(l.start())
}

func (l *soakLife) mustLive() {
	if p := l.program.Load(); p.ended() {
		l.t.Errorf("%s: the connector has ended\n%s", l.name, p.tail())
		l.program.Store(l.start())
	}
}

// comeToRest waits until OpenCTI holds all that ThreatMatch has ever brought, in its newest version.
func (l *soakLife) comeToRest() {
	l.platform.ClearFailures()
	calm := time.Now()
	l.record.note("calm")
	limit := time.After(20 * time.Minute)
	named := func(id string) bool { return l.named(id) }
	for {
		c, err := readClaims(l.platform.State())
		through := err == nil && c.LastRun.After(calm.Add(time.Duration(l.offset.Load())).Truncate(time.Second)) && l.workers.queue.empty() && l.booksClosed()
		var wrong []string
		if through {
			wrong = l.source.amiss(l.platform, named, func(string) bool { return false })
		}
		if through && len(wrong) == 0 || !l.isRight() {
			return
		}
		select {
		case <-time.After(5 * time.Second):
		case <-limit:
			for _, text := range wrong[:min(10, len(wrong))] {
				id, _, _ := strings.Cut(text, " ")
				l.t.Errorf("%s, in the end: %s (%s)", l.name, text, l.workers.history(id))
			}
			l.t.Errorf("%s does not come to rest: through %t, books closed %t, %d things are amiss; state %s\n%s", l.name, through, l.booksClosed(), len(wrong), l.platform.State(), l.program.Load().tail())
			return
		}
	}
}

// named says whether the connector has named an object as one that OpenCTI does not get.
func (l *soakLife) named(id string) bool {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	return slices.ContainsFunc(l.programs, func(p *program) bool {
		for line := range strings.Lines(p.output()) {
			if strings.Contains(line, `"level":"error"`) && strings.Contains(line, id) {
				return true
			}
		}
		return false
	})
}

// booksClosed says that each work which somebody still follows is closed and complete. The last reset voids those before it.
func (l *soakLife) booksClosed() bool {
	c, err := readClaims(l.platform.State())
	if err != nil {
		return false
	}
	for _, w := range l.platform.Works() {
		follows := slices.ContainsFunc(c.Works, func(of struct {
			ID   string       `json:"id"`
			From claimedPlace `json:"from"`
		}) bool {
			return of.ID == w.ID
		})
		if follows && !w.Complete && !w.Deleted {
			return false
		}
	}
	return true
}

// String is what is left of a life for its report.
func (l *soakLife) String() string {
	return fmt.Sprintf("%s: %d messages, %d works, %d processes", l.name, l.workers.sent(), len(l.platform.Works()), l.dead+1)
}

// nodeMessages is the queue of a connector at a real node, which may be away.
type nodeMessages struct {
	url, name string

	mu   sync.Mutex
	conn *amqp.Connection
	ch   *amqp.Channel
}

func (q *nodeMessages) take(n int) (bodies [][]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(bodies) < n && q.connect() {
		m, found, err := q.ch.Get(q.name, false)
		if err != nil {
			q.drop()
		}
		if err != nil || !found {
			break
		}
		bodies = append(bodies, m.Body)
		if m.Ack(false) != nil { // it comes again
			q.drop()
		}
	}
	return bodies
}

// empty is false also where nobody can tell.
func (q *nodeMessages) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.connect() {
		return false
	}
	state, err := q.ch.QueueDeclarePassive(q.name, true, false, false, false, nil)
	if err != nil {
		q.drop()
	}
	return err == nil && state.Messages == 0
}

func (q *nodeMessages) connect() bool {
	if q.ch != nil {
		return true
	}
	var err error
	if q.conn, err = amqp.Dial(q.url); err != nil {
		return false
	}
	if q.ch, err = q.conn.Channel(); err != nil {
		q.drop()
	}
	return err == nil
}

func (q *nodeMessages) drop() {
	_ = q.conn.Close() // it may be gone
	q.ch = nil
}

func (q *nodeMessages) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ch != nil {
		q.drop()
	}
}
