package rabbitmq

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// refusalLogInterval keeps a full queue that is drained slowly from filling the log: it refuses and takes messages in turn.
const refusalLogInterval = time.Minute

// settler finds out what became of the messages on the wire, and books it.
type settler struct {
	*link
	box     *outbox
	flown   chan struct{} // a flight was added; room for one token
	written chan error    // how the writer ended; room for its one answer
	flights flights       // under the outbox's lock

	// What follows is the owner's.
	outage   *outage
	returns  returns
	acked    []*message // confirmed, not yet called back
	gaveBack bool       // a message was returned, and Refresh can help
	behind   int        // how many of the flights overtook a message that was refused
	refusals int        // pauses for refused messages since the last confirm
	resume   *time.Timer
	progress bool
}

// fly gives the owner a message to settle.
func (s *settler) fly(f flight) {
	s.box.mu.Lock()
	s.flights.push(f)
	first := s.flights.len() == 1
	s.box.mu.Unlock()
	if first {
		signal(s.flown)
	}
}

// settle handles confirms until the session is over, and says why it is: nil when ctx ended.
//
// Whether a message was confirmed is read from its own deferred confirmation, not from the library's list of confirms in
// order: that one reports a message as acknowledged that was refused on its own before an acknowledgement covered a range
// around it.
func (s *settler) settle(ctx context.Context) error {
	patience := time.NewTimer(s.box.cfg.ConfirmTimeout)
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
				return fmt.Errorf("%w (%s)", errConfirmTimeout, s.box.cfg.ConfirmTimeout)
			}
			patience.Reset(left)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *settler) front() (flight, bool) {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	return s.flights.front()
}

func (s *settler) idle() bool {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	return s.box.paced.inFlight == 0
}

func (s *settler) resumed() <-chan time.Time {
	if s.resume == nil {
		return nil
	}
	return s.resume.C
}

// patience is how much longer the oldest message in flight may wait.
func (s *settler) patience() time.Duration {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if s.box.blocked || s.box.paced.inFlight == 0 {
		return s.box.cfg.ConfirmTimeout
	}
	return s.box.cfg.ConfirmTimeout - time.Since(s.box.paced.since)
}

// settleFront settles the messages at the front whose confirms have come. It says false when the channel is closed, which
// makes the library answer every open confirm with a nack that means nothing.
func (s *settler) settleFront() bool {
	open, refused := true, false
	s.box.mu.Lock()
	now := time.Now()
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
		refused = s.settleOne(f, now.Sub(s.box.made)) || refused
	}
	s.box.paced.since = now
	if refused && s.resume == nil && !s.gaveBack {
		s.pause()
	}
	s.box.mu.Unlock()
	s.callBack()
	// There is room on the wire again. That may be all that the writer waits for: what overtook a refused message goes
	// again, and its confirms can come after the pause has ended, with nobody to publish anything new.
	signal(s.box.work)
	return open
}

// settleOne books one confirm that has come by now, under the lock. It says whether the broker refused the message for now.
func (s *settler) settleOne(f flight, now time.Duration) (refused bool) {
	box, m := s.box, f.message
	box.paced.inFlight--
	s.readReturns()
	overtook := s.behind > 0
	if overtook {
		s.behind--
	}
	switch {
	case s.returns.match(m.body):
		box.stats.Returned++
		s.publishAgain(m)
		if box.cfg.Refresh == nil {
			return true
		}
		s.gaveBack = true
		box.paced.halted = true
	case f.confirm.Acked() && overtook:
		// It may refer to what was refused: it goes again, behind that.
		box.window.again(m)
	case f.confirm.Acked():
		m.status = acked
		box.taken = max(box.taken, len(m.body))
		box.stats.Latency.observe(max(0, now-m.handed))
		s.acked = append(s.acked, m)
	default:
		box.stats.Nacked++
		s.publishAgain(m)
		return true
	}
	return false
}

// publishAgain puts a message that the broker did not take in its place again, and with it all that is on the wire
// behind it, whatever becomes of that: order counts for more than some messages that come twice.
func (s *settler) publishAgain(m *message) {
	s.box.window.again(m)
	s.behind = s.flights.len()
}

// settleRest books, under the lock, what was confirmed before the session's end, wherever it stands.
func (s *settler) settleRest() {
	now := time.Since(s.box.made)
	for ; s.flights.len() > 0; s.flights.pop() {
		f, _ := s.flights.front()
		if f.settled() && f.confirm.Acked() {
			s.settleOne(f, now)
		}
	}
}

// readReturns takes what the broker gave back up to now.
func (s *settler) readReturns() {
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
func (s *settler) callBack() {
	if len(s.acked) == 0 {
		return
	}
	box := s.box
	if !s.progress {
		s.progress = true
		s.outage.end(box.cfg.Log, s.to)
	}
	for _, m := range s.acked {
		m.settle(nil)
	}
	box.mu.Lock()
	box.stats.Refused = false
	for _, m := range s.acked {
		box.window.remove(m)
	}
	box.stats.Confirmed += uint64(len(s.acked))
	if !box.paced.halted {
		box.paced.probing, s.refusals = false, 0
		if box.paced.limit > 0 {
			box.paced.limit += len(s.acked)
		}
		if box.paced.limit >= box.cfg.Window {
			box.paced.limit = 0
		}
	}
	box.wake()
	box.mu.Unlock()
	clear(s.acked)
	s.acked = s.acked[:0]
}

// pause stops publishing for a while after the broker refused messages, under the lock. Then one goes out alone.
func (s *settler) pause() {
	box := s.box
	box.paced.halted, box.paced.probing, box.paced.limit = true, true, 1
	wait := box.cfg.Backoff.Delay(s.refusals)
	if now := time.Now(); now.Sub(box.refusalLogged) > refusalLogInterval {
		box.refusalLogged = now
		box.cfg.Log.Warn("the broker refuses messages (is the queue full or missing?); they are published again",
			zap.Duration("after", wait))
	}
	s.refusals++
	s.resume = time.NewTimer(wait)
}

// goOn ends a pause.
func (s *settler) goOn() {
	s.box.mu.Lock()
	s.box.paced.halted = s.gaveBack
	s.box.mu.Unlock()
	signal(s.box.work)
}
