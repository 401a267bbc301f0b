package rabbitmq

import (
	"bytes"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// status is where a message stands in the session under way.
type status uint8

const (
	unsent status = iota // to be published, for the first time or again
	sent                 // written or being written, no confirm yet
	acked                // confirmed, about to be called back
)

// message is one message between Publish and its confirm.
type message struct {
	seq      uint64
	body     []byte
	settled  func(refused error)
	status   status
	refusals int32 // how often the broker closed the channel over it
	sends    int   // how often it was published so far
	// handed is when it was published last, since the publisher was made.
	handed time.Duration

	prev, next *message
}

// settle tells the caller of Publish what became of the message.
func (m *message) settle(refused error) {
	if m.settled != nil {
		m.settled(refused)
	}
}

// window holds what is not confirmed, in the order of Publish, and hands out what is to be published, oldest first. It
// has no lock of its own.
type window struct {
	first, last *message
	// cursor is the oldest message that may be unsent: none before it is. nil when none is at all.
	cursor *message

	count   int
	bytes   int64
	lastSeq uint64
}

// add appends a message; its number is one more than the last one's.
func (w *window) add(body []byte, settled func(refused error)) *message {
	w.lastSeq++
	m := &message{seq: w.lastSeq, body: body, settled: settled, prev: w.last}
	if w.last == nil {
		w.first = m
	} else {
		w.last.next = m
	}
	w.last = m
	if w.cursor == nil {
		w.cursor = m
	}
	w.count++
	w.bytes += int64(len(body))
	return m
}

// peek gives the oldest unsent message without taking it, or nil.
func (w *window) peek() *message {
	for w.cursor != nil && w.cursor.status != unsent {
		w.cursor = w.cursor.next
	}
	return w.cursor
}

// take marks the oldest unsent message as sent and gives it, or nil.
func (w *window) take() *message {
	m := w.peek()
	if m == nil {
		return nil
	}
	m.status = sent
	m.sends++
	w.cursor = m.next
	return m
}

// again marks a message as unsent: it goes before all that was handed over later.
func (w *window) again(m *message) {
	m.status = unsent
	if w.cursor == nil || m.seq < w.cursor.seq {
		w.cursor = m
	}
}

// has says whether a message with a body of so many bytes is on the wire.
func (w *window) has(size int) bool {
	for m := w.first; m != nil; m = m.next {
		if m.status == sent && len(m.body) == size {
			return true
		}
	}
	return false
}

// allAgain marks everything as unsent, for a session whose end left the broker's knowledge unknown.
func (w *window) allAgain() {
	for m := w.first; m != nil; m = m.next {
		m.status = unsent
	}
	w.cursor = w.first
}

// remove takes a confirmed message out.
func (w *window) remove(m *message) {
	if w.cursor == m {
		w.cursor = m.next
	}
	if m.prev == nil {
		w.first = m.next
	} else {
		m.prev.next = m.next
	}
	if m.next == nil {
		w.last = m.prev
	} else {
		m.next.prev = m.prev
	}
	m.prev, m.next = nil, nil
	w.count--
	w.bytes -= int64(len(m.body))
}

// fits says whether a body of n bytes may be added under the two bounds. An empty window takes any body.
func (w *window) fits(n, window int, windowBytes int64) bool {
	return w.count == 0 || (w.count < window && w.bytes+int64(n) <= windowBytes)
}

// confirmedUpTo says whether every message up to and including number seq is out of the window.
func (w *window) confirmedUpTo(seq uint64) bool { return w.first == nil || w.first.seq > seq }

// flight is one publish on the wire.
type flight struct {
	message *message
	confirm *amqp.DeferredConfirmation
}

func (f flight) settled() bool {
	select {
	case <-f.confirm.Done():
		return true
	default:
		return false
	}
}

// flights is the queue of what is on the wire, in the order of delivery tags. Its buffer is used again and again.
type flights struct {
	buf  []flight
	head int
}

func (q *flights) len() int { return len(q.buf) - q.head }

func (q *flights) push(f flight) {
	if q.head > 0 && len(q.buf) == cap(q.buf) {
		n := copy(q.buf, q.buf[q.head:])
		clear(q.buf[n:])
		q.buf, q.head = q.buf[:n], 0
	}
	q.buf = append(q.buf, f)
}

func (q *flights) front() (flight, bool) {
	if q.len() == 0 {
		return flight{}, false
	}
	return q.buf[q.head], true
}

func (q *flights) pop() {
	q.buf[q.head] = flight{}
	q.head++
	if q.head == len(q.buf) {
		q.buf, q.head = q.buf[:0], 0
	}
}

// returns holds the bodies that the broker gave back and whose messages have not been found yet.
type returns struct{ bodies [][]byte }

func (r *returns) add(body []byte) { r.bodies = append(r.bodies, body) }

// match says whether a body was given back, and forgets it. Returns come in the order of the publishes, as do the
// questions, so that the first comparison mostly settles it.
func (r *returns) match(body []byte) bool {
	for i, b := range r.bodies {
		if bytes.Equal(b, body) {
			r.bodies = append(r.bodies[:i], r.bodies[i+1:]...)
			return true
		}
	}
	return false
}
