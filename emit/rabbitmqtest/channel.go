package rabbitmqtest

import "encoding/binary"

// channel is one AMQP channel. The connection's reader owns it.
type channel struct {
	conn        *conn
	id          uint16
	closing     bool    // channel.close was sent: only its answer counts
	content     content // the publish that is being read
	confirms    confirms
	deliveryTag uint64
}

type stage int

const (
	noContent stage = iota
	wantHeader
	wantBody
)

// content is the publish that a channel is reading.
type content struct {
	stage         stage
	exchange, key string
	mandatory     bool
	size, missing uint64
	payload       []byte // properties, then as much of the body as has come
	propertiesLen int
}

// raise ends the channel with an error. What was stored before is confirmed first.
func (ch *channel) raise(e *exception) {
	ch.confirms.flush()
	ch.content = content{}
	ch.closing = true
	ch.conn.out.method(ch.id, channelClose, func(b []byte) []byte { return appendException(b, e) })
}

// reply adds a method of this channel whose arguments are counts.
func (ch *channel) reply(method uint32, counts ...int) {
	ch.conn.out.method(ch.id, method, func(b []byte) []byte {
		for _, n := range counts {
			b = binary.BigEndian.AppendUint32(b, uint32(n))
		}
		return b
	})
}
