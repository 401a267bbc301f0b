package rabbitmq_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"

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
		frame := make([]byte, 7)
		if _, err := io.ReadFull(c.Conn, frame); err != nil {
			return 0, err
		}
		frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame[3:])+1)...)
		if _, err := io.ReadFull(c.Conn, frame[7:]); err != nil {
			return 0, err
		}
		const methodFrame, basicAck = 1, 60<<16 | 80
		if frame[0] == methodFrame && binary.BigEndian.Uint32(frame[7:]) == basicAck {
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
