package rabbitmqtest

import (
	"net"
	"sync"
	"time"
)

const (
	// outputHigh is where a connection's reader waits for its writer: a client that does not read is not served further.
	outputHigh = 1 << 20
	// farewellLimit bounds the last write to a client and the wait for its answer to connection.close.
	farewellLimit = 5 * time.Second
)

// output collects frames for one connection's writer.
type output struct {
	mu       sync.Mutex
	buf      []byte
	finished bool // nothing follows what buf holds

	ready chan struct{} // something to send
	room  chan struct{} // buf was taken
}

func newOutput() output {
	return output{ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// wake starts the writer. Frames that are added without it go out with the next ones.
func (o *output) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// add lets write append whole frames.
func (o *output) add(write func([]byte) []byte) {
	o.mu.Lock()
	if !o.finished {
		o.buf = write(o.buf)
	}
	o.mu.Unlock()
}

// method adds a method frame; arguments may be nil.
func (o *output) method(id uint16, method uint32, arguments func([]byte) []byte) {
	o.add(func(b []byte) []byte {
		b, start := openMethod(b, id, method)
		if arguments != nil {
			b = arguments(b)
		}
		return closeFrame(b, start)
	})
}

// deliver adds the properties and the body of a message.
func (o *output) deliver(id uint16, s *stored, maxPayload int) {
	o.add(func(b []byte) []byte { return appendContent(b, id, s.properties(), s.body(), maxPayload) })
}

// finish lets the writer end once all is sent.
func (o *output) finish() {
	o.mu.Lock()
	o.finished = true
	o.mu.Unlock()
	o.wake()
}

func (o *output) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.buf)
}

// swap exchanges the collected frames for an empty buffer; last says that none will follow.
func (o *output) swap(empty []byte) (frames []byte, last bool) {
	o.mu.Lock()
	frames, o.buf, last = o.buf, empty[:0], o.finished
	o.mu.Unlock()
	select {
	case o.room <- struct{}{}:
	default:
	}
	return frames, last
}

// sendTo is the connection's writer: it sends what was collected and keeps an idle client alive, once heartbeat has said
// how often. It ends when the connection is gone, or all is sent and nothing follows.
func (o *output) sendTo(nc net.Conn, gone <-chan struct{}, heartbeat <-chan time.Duration) {
	var beats <-chan time.Time
	var empty []byte
	quiet := true
	for {
		select {
		case <-gone:
			return
		case interval := <-heartbeat:
			ticker := time.NewTicker(interval / 2)
			defer ticker.Stop()
			beats, heartbeat = ticker.C, nil
			continue
		case <-beats:
			if quiet {
				o.add(func(b []byte) []byte { return append(b, frameHeartbeat, 0, 0, 0, 0, 0, 0, frameEnd) })
			}
			quiet = true
		case <-o.ready:
		}
		frames, last := o.swap(empty)
		if last {
			_ = nc.SetWriteDeadline(time.Now().Add(farewellLimit)) // fails on a closed connection only
		}
		if len(frames) > 0 {
			if _, err := nc.Write(frames); err != nil {
				return
			}
			quiet = false
		}
		if last {
			return
		}
		if empty = frames; cap(empty) > outputHigh {
			empty = nil // one large message must not be held for good
		}
	}
}
