package endtoend

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

// workerQueue is where workers take messages from.
type workerQueue interface {
	// take takes at most n messages, in their order, none while there are none to be had.
	take(n int) [][]byte
	empty() bool
}

// bubbleMessages is the queue of a bubble.
type bubbleMessages struct{ broker *rabbitmqtest.Broker }

func (q bubbleMessages) take(n int) (bodies [][]byte) {
	for _, m := range q.broker.Take(bubbleQueue, n) {
		bodies = append(bodies, m.Body)
	}
	return bodies
}

func (q bubbleMessages) empty() bool {
	n, _ := q.broker.Depth(bubbleQueue)
	return n == 0
}

// simulatedWorkers are OpenCTI's workers: they import what is in the queue in its order, at a pace of their own, also while
// no connector runs. They keep what the connector may count on: what lies in the queue on a work that is alive, and what
// they are through with.
type simulatedWorkers struct {
	t        *testing.T
	platform *openctitest.Platform
	queue    workerQueue
	arrivals
	look  func(delivery)                                       // is shown each message that comes; nil for nobody
	rest  func(*rand.Rand) (pause time.Duration, hurries bool) // between two handfuls; one that hurries ends with hurry
	again <-chan time.Time                                     // when to look into the queue though nothing has come; nil for never
	rand  *rand.Rand
	news  chan struct{} // holds a token when there may be something in the queue
	hurry chan struct{} // closed when they make no more long pauses
	ended chan struct{} // closed when they have stopped

	importing sync.Mutex // guards all below, and what a work's end means for its messages
	total     int
	byWork    map[string]map[string]bool // the different messages of each work
	dead      map[string]bool            // works that OpenCTI does not know any more: their messages are dropped
	failed    map[string]bool            // objects whose last import has failed
	unclear   map[string]bool            // works that OpenCTI does not know any more, or of which it cannot tell all that failed
	unsaid    map[string]string          // objects whose last import has failed, unknown to the work that is named
	restored  map[string]string          // objects that a backup did not have, and the work that had brought them
	histories map[string]string          // what became of each object, by its id, for the report of a failure
}

func newSimulatedWorkers(r *rand.Rand) *simulatedWorkers {
	return &simulatedWorkers{
		rand: r, rest: longRest, news: make(chan struct{}, 1), hurry: make(chan struct{}), ended: make(chan struct{}),
		byWork: map[string]map[string]bool{}, dead: map[string]bool{}, failed: map[string]bool{}, unclear: map[string]bool{}, unsaid: map[string]string{}, restored: map[string]string{}, histories: map[string]string{},
	}
}

// arrive is called for each message that has come into the queue.
func (w *simulatedWorkers) arrive(body []byte) {
	m, err := readDelivery(body)
	if err != nil {
		w.t.Error(err)
		return
	}
	if w.look != nil {
		w.look(m)
	}
	w.importing.Lock()
	defer w.importing.Unlock()
	w.total++
	if w.byWork[m.Work] == nil {
		w.byWork[m.Work] = map[string]bool{}
	}
	w.byWork[m.Work][m.ID+modifiedOf(m).String()] = true
	if !w.dead[m.Work] {
		w.note(m)
	}
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// work imports what comes, until stop is closed.
func (w *simulatedWorkers) work(stop <-chan struct{}) {
	defer close(w.ended)
	for {
		select {
		case <-w.news:
		case <-w.again:
		case <-stop:
			return
		}
		for {
			if !w.pause(stop) {
				return
			}
			messages := w.queue.take(1 + w.rand.IntN(40))
			if len(messages) == 0 {
				break
			}
			for _, body := range messages {
				w.take(body)
			}
		}
	}
}

// longRest is in fake time: now and then so long that a run may end meanwhile, or a day.
func longRest(r *rand.Rand) (pause time.Duration, hurries bool) {
	pause = time.Duration(5+r.IntN(300)) * time.Millisecond
	switch r.IntN(30) {
	case 0:
		return time.Duration(r.IntN(24*60)) * time.Minute, true
	case 1, 2, 3:
		return time.Duration(r.IntN(5*60)) * time.Second, true
	}
	return pause, false
}

// pause lets some time pass. It reports false when stop was closed.
func (w *simulatedWorkers) pause(stop <-chan struct{}) bool {
	pause, hurries := w.rest(w.rand)
	var hurry <-chan struct{}
	if hurries {
		hurry = w.hurry
	}
	select {
	case <-time.After(pause):
	case <-hurry:
	case <-stop:
		return false
	}
	return true
}

// take imports one message.
func (w *simulatedWorkers) take(body []byte) {
	m, err := readDelivery(body)
	if err != nil {
		return // arrive has said so
	}
	w.importing.Lock()
	defer w.importing.Unlock()
	const mostErrors = 100 // that a work keeps
	full := w.errors(m.Work) >= mostErrors
	w.unclear[m.Work] = full
	outcome := w.platform.Import(body)
	told := fmt.Sprintf("; %s as of %s", outcome, modifiedOf(m).Format(stepTime))
	delete(w.unsaid, m.ID)
	if outcome == openctitest.Imported {
		delete(w.restored, m.ID)
		delete(w.failed, m.ID)
	}
	if outcome == openctitest.Failed {
		w.failed[m.ID] = true
		if full {
			w.unsaid[m.ID] = m.Work
		}
		told += ": " + lastError(w.platform, m.Work)
		for _, ref := range m.Refs {
			if !w.platform.Holds(ref) {
				told += ", without " + ref + " {" + w.histories[ref] + "}"
			}
		}
	}
	w.histories[m.ID] += told + fmt.Sprintf(" at %s of %s", time.Now().Format(stepTime), m.Work)
	if outcome != openctitest.Dropped {
		w.through(m)
	}
}

// errors is how many failed imports a work tells of.
func (w *simulatedWorkers) errors(work string) int {
	for _, known := range w.platform.Works() {
		if known.ID == work {
			return len(known.Errors)
		}
	}
	return 0
}

// unsaidWork is the work that could not tell of an object's failed import any more, "" where there was none.
func (w *simulatedWorkers) unsaidWork(id string) string {
	w.importing.Lock()
	defer w.importing.Unlock()
	return w.unsaid[id]
}

// doubtful says that OpenCTI could not import an object when that was last tried, or that nothing is clear of the works that
// brought it.
func (w *simulatedWorkers) doubtful(id string) bool {
	w.importing.Lock()
	defer w.importing.Unlock()
	return w.failed[id] || w.onlyOf(id, w.unclear)
}

// history is what became of an object.
func (w *simulatedWorkers) history(id string) string {
	w.importing.Lock()
	defer w.importing.Unlock()
	return "never sent"[min(len("never sent"), len(w.histories[id])):] + w.histories[id]
}

// deleteWork is an operator's deletion of a work: its messages are dropped from now on.
func (w *simulatedWorkers) deleteWork(id string) {
	w.importing.Lock()
	defer w.importing.Unlock()
	if w.platform.DeleteWork(id) {
		w.dead[id], w.unclear[id] = true, true
		w.dropWork(id)
	}
}

// isDead says whether OpenCTI has forgotten a work.
func (w *simulatedWorkers) isDead(id string) bool {
	w.importing.Lock()
	defer w.importing.Unlock()
	return w.dead[id]
}

// sent is how many messages have come.
func (w *simulatedWorkers) sent() int {
	w.importing.Lock()
	defer w.importing.Unlock()
	return w.total
}

// different is how many different messages of a work have come.
func (w *simulatedWorkers) different(work string) int {
	w.importing.Lock()
	defer w.importing.Unlock()
	return len(w.byWork[work])
}
