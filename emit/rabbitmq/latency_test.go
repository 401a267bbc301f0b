package rabbitmq_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

// tardyAcks is a connection on which every acknowledgement takes its time.
type tardyAcks struct {
	net.Conn
	by    time.Duration
	ready []byte
}

func (c *tardyAcks) Read(p []byte) (int, error) {
	if len(c.ready) == 0 {
		frame, method, err := readFrame(c.Conn)
		if err != nil {
			return 0, err
		}
		if method == basicAck {
			time.Sleep(c.by) // only ever in a bubble
		}
		c.ready = frame
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// tardyRig is a rig whose broker confirms after a time, which it has.
func tardyRig(t *testing.T, by time.Duration) *rig {
	r := newRig(t, func(r *rig, c *rabbitmq.Config) {
		dial := c.Dial
		c.ConfirmTimeout = time.Hour
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return &tardyAcks{Conn: conn, by: by}, err
		}
	})
	r.declare()
	return r
}

func TestTheTimeUntilEachConfirmIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tardyRig(t, 300*time.Millisecond)
		r.deliver(1, 1)
		r.deliver(2, 2)
		l := r.publisher.Stats().Latency
		if l.Count() != 2 || l.Sum != 600*time.Millisecond {
			t.Errorf("%d confirms in %s, want 2 in 600ms", l.Count(), l.Sum)
		}
		for bound, n := range l.Buckets() {
			if want := map[bool]uint64{true: 2}[bound >= 0.3]; n != want {
				t.Errorf("%d within %vs, want %d", n, bound, want)
			}
		}
	})
}

func TestAMessageThatGoesAgainIsTimedFromItsLastPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := tardyRig(t, 20*time.Millisecond)
		r.broker.FaultAt(1, rabbitmqtest.Nack)
		r.deliver(1, 1)
		if l := r.publisher.Stats().Latency; l.Count() != 1 || l.Sum != 20*time.Millisecond {
			t.Errorf("%d confirms in %s, want one in 20ms", l.Count(), l.Sum)
		}
	})
}

func TestAConfirmThatTakesLongerThanEveryBoundIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const beyond = 90 * time.Second
		r := tardyRig(t, beyond)
		r.deliver(1, 1)
		l := r.publisher.Stats().Latency
		both := l.Plus(l)
		if l.Count() != 1 || both.Count() != 2 || both.Sum != 2*beyond || l.Buckets()[60] != 0 {
			t.Errorf("%+v, twice that %+v", l, both)
		}
	})
}
