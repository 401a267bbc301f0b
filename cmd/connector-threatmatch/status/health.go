package status

import (
	"fmt"
	"time"
)

// traces reads the present ones; s.mu is held.
func (s *Status) traces() traces {
	t := traces{runs: s.total.runs, calls: s.total.calls, requests: s.requests()}
	for _, d := range s.datasets {
		t.pages += d.pages
	}
	if s.publisher != nil {
		t.broker = s.publisher.Stats()
	}
	return t
}

// ailment says why the connector should be started anew, "" when it is well. Silence is measured from one question to the
// next, so that it costs a run nothing.
func (s *Status) ailment() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if silent := now.Sub(s.beat); !s.beat.IsZero() && s.activity != stopped && silent > heartbeatLimit {
		return fmt.Sprintf("the heartbeat has not run for %s", silent.Round(time.Second))
	}
	t := s.traces()
	// A broker that blocks says so once; the connection's own heartbeat tells whether it is still there.
	if t != s.seen || t.broker.Blocked || (s.activity != running && s.activity != starting) {
		s.seen, s.seenAt = t, now
	}
	if silent := now.Sub(s.seenAt); silent > s.limit {
		return fmt.Sprintf("nothing was fetched, confirmed or tried again for %s (%s)", silent.Round(time.Second), s.activity)
	}
	return ""
}
