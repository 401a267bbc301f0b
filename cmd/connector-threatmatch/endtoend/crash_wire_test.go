package endtoend

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// wiretap stands between the connector and the broker and reads along: only there is it known, at any moment, which
// messages the broker has confirmed and the connector can have heard of. What it forwards it may hold up a little, so
// that at any moment something is on its way.
type wiretap struct {
	t        *testing.T
	target   string
	listener net.Listener
	// published is told of each message before the broker gets it, confirmed of each before the connector hears of it.
	published func()
	confirmed func(body []byte)
	// lag bounds how long bytes are held up.
	lag time.Duration

	mu      sync.Mutex
	ended   bool
	refuses bool          // new connections are closed at once
	frozen  chan struct{} // nothing is forwarded until it is closed; nil for no frost
	conns   map[net.Conn]bool
	active  sync.WaitGroup
}

func tapWire(t *testing.T, target string, lag time.Duration, published func(), confirmed func([]byte)) *wiretap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{t: t, target: target, listener: l, published: published, confirmed: confirmed, lag: lag, conns: map[net.Conn]bool{}}
	w.active.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.active.Go(func() { w.join(c) })
		}
	})
	t.Cleanup(func() {
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
		w.thaw()
		l.Close()
		w.cut()
		w.active.Wait()
	})
	return w
}

func (w *wiretap) port() int { return w.listener.Addr().(*net.TCPAddr).Port }

// cut ends every connection without a word.
func (w *wiretap) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.Close()
	}
}

// refuse closes every connection, now and until it is told otherwise.
func (w *wiretap) refuse(yes bool) {
	w.mu.Lock()
	w.refuses = yes
	w.mu.Unlock()
	if yes {
		w.cut()
	}
}

// freeze lets every connection stand without carrying anything, as where a machine in between has gone without a word.
func (w *wiretap) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.frozen == nil {
		w.frozen = make(chan struct{})
	}
}

// thaw ends the frost; what was on the wire goes on.
func (w *wiretap) thaw() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.frozen != nil {
		close(w.frozen)
		w.frozen = nil
	}
}

// frost is closed when the frost ends, nil where there is none.
func (w *wiretap) frost() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.frozen
}

// quiet ends every connection and waits until nothing of them is under way.
func (w *wiretap) quiet() {
	w.cut()
	eventually(w.t, "the connections to the broker have ended", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.conns) == 0
	})
}

// hold notes a connection, so that it can be cut; false when none may begin.
func (w *wiretap) hold(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	may := !w.ended && !w.refuses
	if may {
		w.conns[c] = true
	}
	return may
}

func (w *wiretap) drop(c net.Conn) {
	c.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}

// join carries one connection to its end.
func (w *wiretap) join(client net.Conn) {
	defer w.drop(client)
	if !w.hold(client) {
		return
	}
	broker, err := net.DialTimeout("tcp", w.target, hang)
	if err != nil {
		return
	}
	defer w.drop(broker)
	if !w.hold(broker) {
		return
	}
	s := &tapped{wiretap: w, channels: map[uint16]*tappedChannel{}}
	var both sync.WaitGroup
	both.Go(func() { s.carry(client, broker, true, s.fromClient); broker.Close(); client.Close() })
	both.Go(func() { s.carry(broker, client, false, s.fromBroker); broker.Close(); client.Close() })
	both.Wait()
}

// tapped is one connection that is read along.
type tapped struct {
	*wiretap
	mu       sync.Mutex
	channels map[uint16]*tappedChannel
}

// tappedChannel follows the publishes of a channel.
type tappedChannel struct {
	tag      uint64
	open     map[uint64][]byte // not confirmed yet
	returned map[string]int    // bodies that came back and are not confirmed yet
	up, down content
}

// content is that of a message, while it is under way.
type content struct {
	left uint64
	body []byte
	// awaited says that the method has come and the header has not.
	awaited bool
}

// carry forwards frames; each was looked at before.
func (s *tapped) carry(from, to net.Conn, greets bool, look func(kind byte, channel uint16, payload []byte)) {
	r := bufio.NewReaderSize(from, 64<<10)
	if greets {
		var hello [8]byte
		if _, err := io.ReadFull(r, hello[:]); err != nil {
			return
		}
		if _, err := to.Write(hello[:]); err != nil {
			return
		}
	}
	for {
		frame, err := readFrame(r)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF) {
				var op *net.OpError
				if !errors.As(err, &op) {
					s.t.Errorf("read a frame: %v", err)
				}
			}
			return
		}
		if s.lag > 0 && r.Buffered() == 0 {
			<-time.After(rand.N(s.lag))
		}
		if frost := s.frost(); frost != nil {
			<-frost
		}
		look(frame[0], binary.BigEndian.Uint16(frame[1:]), frame[7:len(frame)-1])
		if _, err := to.Write(frame); err != nil {
			return
		}
	}
}

func readFrame(r *bufio.Reader) ([]byte, error) {
	const most = 64 << 20
	head, err := r.Peek(7)
	if err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[3:])
	if size > most {
		return nil, errors.New("a frame is too large to be one")
	}
	frame := make([]byte, 7+int(size)+1)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	if frame[len(frame)-1] != 0xCE {
		return nil, errors.New("a frame has no end")
	}
	return frame, nil
}

const (
	methodFrame = 1
	headerFrame = 2
	bodyFrame   = 3
	// Class and method as they stand in a method frame.
	channelOpen  = 20<<16 | 10
	basicPublish = 60<<16 | 40
	basicReturn  = 60<<16 | 50
	basicAck     = 60<<16 | 80
	basicNack    = 60<<16 | 120
)

func (s *tapped) channel(number uint16) *tappedChannel {
	c := s.channels[number]
	if c == nil {
		c = &tappedChannel{open: map[uint64][]byte{}, returned: map[string]int{}}
		s.channels[number] = c
	}
	return c
}

func (s *tapped) fromClient(kind byte, number uint16, payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == methodFrame && len(payload) >= 4 && binary.BigEndian.Uint32(payload) == channelOpen {
		delete(s.channels, number)
	}
	c := s.channel(number)
	if body, whole := c.up.take(kind, payload, basicPublish); whole {
		c.tag++
		c.open[c.tag] = body
		s.published()
	}
}

func (s *tapped) fromBroker(kind byte, number uint16, payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channel(number)
	if body, whole := c.down.take(kind, payload, basicReturn); whole {
		c.returned[string(body)]++
		return
	}
	if kind != methodFrame || len(payload) < 13 {
		return
	}
	tag, multiple := binary.BigEndian.Uint64(payload[4:]), payload[12]&1 != 0
	switch binary.BigEndian.Uint32(payload) {
	case basicAck:
		c.settle(tag, multiple, s.confirmed)
	case basicNack:
		c.settle(tag, multiple, func([]byte) {})
	}
}

func (c *tappedChannel) settle(tag uint64, multiple bool, confirmed func([]byte)) {
	for t, body := range c.open {
		if t != tag && (!multiple || t > tag) {
			continue
		}
		delete(c.open, t)
		if n := c.returned[string(body)]; n > 0 {
			c.returned[string(body)] = n - 1
			continue
		}
		confirmed(body)
	}
}

// take follows the frames of a message that begins with a method, and returns its body once it is whole.
func (m *content) take(kind byte, payload []byte, begins uint32) (body []byte, whole bool) {
	switch {
	case kind == methodFrame:
		*m = content{awaited: len(payload) >= 4 && binary.BigEndian.Uint32(payload) == begins}
		return nil, false
	case kind == headerFrame && m.awaited && len(payload) >= 12:
		m.awaited, m.left = false, binary.BigEndian.Uint64(payload[4:])
	case kind == bodyFrame && m.left > 0:
		m.body = append(m.body, payload...)
		m.left -= min(m.left, uint64(len(payload)))
	default:
		return nil, false
	}
	if m.left > 0 {
		return nil, false
	}
	body, m.body = m.body, nil
	return body, true
}
