package rabbitmq

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"
)

// refusalLogInterval keeps a full queue that is drained slowly from filling the log: it refuses and takes messages in turn.
const refusalLogInterval = time.Minute

// settle handles confirms until the session is over, and says why it is: nil when ctx ended.
//
// Whether a message was confirmed is read from its own deferred confirmation, not from the library's list of confirms in
// order: that one reports a message as acknowledged that was refused on its own before an acknowledgement covered a range
// around it.
func (s *session) settle(ctx context.Context) error {
	patience := time.NewTimer(s.p.cfg.ConfirmTimeout)
	defer patience.Stop()
	for {
		if s.gaveBack && s.idle() {
			return errReturned
		}
		var confirmed <-chan struct{}
		if f, ok := s.front(); ok {
			confirmed = f.confirm.Done()
		}
		select {
		case <-confirmed:
			if !s.settleFront() {
				return s.closeReason(nil)
			}
		case <-s.flown:
		case <-s.resumed():
			s.resume = nil
			s.goOn()
		case e := <-s.chanClosed:
			return lost(e)
		case e := <-s.connClosed:
			return lost(e)
		case err := <-s.written:
			if ctx.Err() != nil {
				return nil
			}
			return s.closeReason(err)
		case <-patience.C:
			left := s.patience()
			if left <= 0 {
				return fmt.Errorf("%w (%s)", errConfirmTimeout, s.p.cfg.ConfirmTimeout)
			}
			patience.Reset(left)
		case <-ctx.Done():
			return nil
		}
	}
}

// lost is the error for a connection or channel that was closed by the other side.
func lost(e *amqp.Error) error {
	if e == nil {
		return amqp.ErrClosed
	}
	return e
}

// closeReason waits a moment for the library to say why the channel is closed; otherwise is what was seen of it.
func (s *session) closeReason(otherwise error) error {
	t := time.NewTimer(closeGrace)
	defer t.Stop()
	select {
	case e := <-s.chanClosed:
		return lost(e)
	case e := <-s.connClosed:
		return lost(e)
	case <-t.C:
	}
	if otherwise == nil {
		otherwise = amqp.ErrClosed
	}
	return otherwise
}

func (s *session) front() (flight, bool) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.flights.front()
}

func (s *session) idle() bool {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.paced.inFlight == 0
}

func (s *session) resumed() <-chan time.Time {
	if s.resume == nil {
		return nil
	}
	return s.resume.C
}

// patience is how much longer the oldest message in flight may wait.
func (s *session) patience() time.Duration {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blocked || p.paced.inFlight == 0 {
		return p.cfg.ConfirmTimeout
	}
	return p.cfg.ConfirmTimeout - time.Since(p.paced.since)
}

// settleFront settles the messages at the front whose confirms have come. It says false when the channel is closed, which
// makes the library answer every open confirm with a nack that means nothing.
func (s *session) settleFront() bool {
	p := s.p
	open, refused := true, false
	p.mu.Lock()
	for {
		f, ok := s.flights.front()
		if !ok || !f.settled() {
			break
		}
		if !f.confirm.Acked() && s.ch.IsClosed() {
			open = false
			break
		}
		s.flights.pop()
		refused = s.settleOne(f) || refused
	}
	p.paced.since = time.Now()
	if refused && s.resume == nil && !s.gaveBack {
		s.pause()
	}
	p.mu.Unlock()
	s.callBack()
	// There is room on the wire again. That may be all that the writer waits for: what overtook a refused message goes
	// again, and its confirms can come after the pause has ended, with nobody to publish anything new.
	signal(p.work)
	return open
}

// settleOne books one confirm, under the lock. It says whether the broker refused the message for now.
func (s *session) settleOne(f flight) (refused bool) {
	p, m := s.p, f.message
	p.paced.inFlight--
	s.readReturns()
	overtook := s.behind > 0
	if overtook {
		s.behind--
	}
	switch {
	case s.returns.match(m.body):
		p.stats.Returned++
		s.publishAgain(m)
		if p.cfg.Refresh == nil {
			return true
		}
		s.gaveBack = true
		p.paced.halted = true
	case f.confirm.Acked() && overtook:
		// It may refer to what was refused: it goes again, behind that.
		p.window.again(m)
	case f.confirm.Acked():
		m.status = acked
		s.acked = append(s.acked, m)
	default:
		p.stats.Nacked++
		s.publishAgain(m)
		return true
	}
	return false
}

// publishAgain puts a message that the broker did not take in its place again, and with it all that is on the wire
// behind it, whatever becomes of that: order counts for more than some messages that come twice.
func (s *session) publishAgain(m *message) {
	s.p.window.again(m)
	s.behind = s.flights.len()
}

// settleRest books, under the lock, what was confirmed before the session's end, wherever it stands.
func (s *session) settleRest() {
	for ; s.flights.len() > 0; s.flights.pop() {
		f, _ := s.flights.front()
		if f.settled() && f.confirm.Acked() {
			s.settleOne(f)
		}
	}
}

// readReturns takes what the broker gave back up to now.
func (s *session) readReturns() {
	for {
		select {
		case r, ok := <-s.returned:
			if !ok {
				return
			}
			s.returns.add(r.Body)
		default:
			return
		}
	}
}

// callBack tells the callers of confirmed messages, then makes room for new ones.
func (s *session) callBack() {
	if len(s.acked) == 0 {
		return
	}
	p := s.p
	if !s.progress {
		s.progress = true
		p.recovered()
	}
	for _, m := range s.acked {
		if m.confirmed != nil {
			m.confirmed()
		}
	}
	p.mu.Lock()
	for _, m := range s.acked {
		p.window.remove(m)
	}
	p.stats.Confirmed += uint64(len(s.acked))
	if !p.paced.halted {
		p.paced.probing, s.refusals = false, 0
		if p.paced.limit > 0 {
			p.paced.limit += len(s.acked)
		}
		if p.paced.limit >= p.cfg.Window {
			p.paced.limit = 0
		}
	}
	p.wake()
	p.mu.Unlock()
	clear(s.acked)
	s.acked = s.acked[:0]
}

// pause stops publishing for a while after the broker refused messages, under the lock. Then one goes out alone.
func (s *session) pause() {
	p := s.p
	p.paced.halted, p.paced.probing, p.paced.limit = true, true, 1
	wait := p.cfg.Backoff.delay(s.refusals)
	if now := time.Now(); now.Sub(p.refusalLogged) > refusalLogInterval {
		p.refusalLogged = now
		p.cfg.Log.Warn("the broker refuses messages (is the queue full or missing?); they are published again",
			zap.Duration("after", wait))
	}
	s.refusals++
	s.resume = time.NewTimer(wait)
}

// goOn ends a pause.
func (s *session) goOn() {
	p := s.p
	p.mu.Lock()
	p.paced.halted = s.gaveBack
	p.mu.Unlock()
	signal(p.work)
}
