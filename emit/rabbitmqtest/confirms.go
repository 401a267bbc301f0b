package rabbitmqtest

import "encoding/binary"

// confirms numbers a channel's publishes and holds a run of acknowledgements back, to be sent as one.
type confirms struct {
	out         *output
	id          uint16 // of the channel
	on          bool
	tag         uint64 // of the last publish
	first, last uint64 // of the run; last 0 when there is none
	withheld    bool
}

// answer answers for the publish that was just read, and reports whether a run begins with it.
func (c *confirms) answer(ack bool) bool {
	if !c.on || c.withheld {
		return false
	}
	if !ack {
		c.flush()
		c.send(basicNack, c.tag, false)
		return false
	}
	begins := c.last == 0
	if begins {
		c.first = c.tag
	}
	c.last = c.tag
	return begins
}

// flush sends the acknowledgements held back. All before them were answered, so that one may cover the run.
func (c *confirms) flush() {
	if c.last == 0 {
		return
	}
	c.send(basicAck, c.last, c.first != c.last)
	c.last = 0
}

func (c *confirms) send(method uint32, tag uint64, multiple bool) {
	c.out.method(c.id, method, func(b []byte) []byte {
		return appendBool(binary.BigEndian.AppendUint64(b, tag), multiple)
	})
}
