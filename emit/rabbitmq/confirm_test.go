package rabbitmq_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

// lateAcks is a connection on which the broker's acknowledgements come later than its refusals, and together: those
// after the first message are withheld until the one for last, which then covers all. RabbitMQ does so when a queue
// refuses at once while the disk holds the other confirms up.
type lateAcks struct {
	net.Conn
	last  uint64
	ready []byte
}

func (c *lateAcks) Read(p []byte) (int, error) {
	for len(c.ready) == 0 {
		frame, method, err := readFrame(c.Conn)
		if err != nil {
			return 0, err
		}
		if method == basicAck {
			tag := binary.BigEndian.Uint64(frame[11:])
			if tag > 1 && tag < c.last {
				continue
			}
			frame[19] = 1 // multiple
		}
		c.ready = frame
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// Class and method as they stand in a method frame.
const (
	basicAck  = 60<<16 | 80
	basicNack = 60<<16 | 120
)

// readFrame reads one frame; method is 0 for one that is no method's.
func readFrame(from io.Reader) (frame []byte, method uint32, err error) {
	frame = make([]byte, 7)
	if _, err := io.ReadFull(from, frame); err != nil {
		return nil, 0, err
	}
	frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame[3:])+1)...)
	if _, err := io.ReadFull(from, frame[7:]); err != nil {
		return nil, 0, err
	}
	const methodFrame = 1
	if frame[0] == methodFrame {
		method = binary.BigEndian.Uint32(frame[7:])
	}
	return frame, method, nil
}

// slowAcks is a connection on which acknowledgements take their time: a moment, so that the window fills, and after the
// first refusal longer than any pause for it.
type slowAcks struct {
	net.Conn
	refused bool
	ready   []byte
}

func (c *slowAcks) Read(p []byte) (int, error) {
	if len(c.ready) == 0 {
		frame, method, err := readFrame(c.Conn)
		switch {
		case err != nil:
			return 0, err
		case method == basicNack:
			c.refused = true
		case method == basicAck && c.refused:
			time.Sleep(time.Second)
		case method == basicAck:
			time.Sleep(time.Millisecond)
		}
		c.ready = frame
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

func TestConfirmsThatComeAfterThePauseForARefusalDoNotEndDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 30 // more than the window: Publish waits too, so that nothing else wakes the writer
		r := newRig(t, func(r *rig, c *rabbitmq.Config) {
			dial := c.Dial
			c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				return &slowAcks{Conn: conn}, err
			}
		})
		r.declare()
		r.broker.FaultAt(5, rabbitmqtest.Nack)
		r.deliver(1, messages)
		r.check(messages)
		if s := r.publisher.Stats(); s.Nacked != 1 || s.Sessions != 1 {
			t.Errorf("not what this is about: %+v", s)
		}
	})
}

func TestARefusalIsNotOverruledByALaterAcknowledgementOfARange(t *testing.T) {
	for name, fault := range map[string]rabbitmqtest.Fault{"nack": rabbitmqtest.Nack, "return": rabbitmqtest.Return} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const messages = 8
				r := newRig(t, func(r *rig, c *rabbitmq.Config) {
					dial, sessions := c.Dial, 0
					c.Refresh = same(*c)
					c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
						conn, err := dial(ctx, network, addr)
						if sessions++; err != nil || sessions > 1 {
							return conn, err
						}
						return &lateAcks{Conn: conn, last: messages}, nil
					}
				})
				r.declare()
				r.broker.FaultAt(4, fault)
				r.deliver(1, messages)
				r.check(messages)
			})
		})
	}
}
