package rabbitmqtest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

const (
	// maxMessage is RabbitMQ's default limit for a body, in bytes.
	maxMessage = 134217728
	// trustedSize is how much is set aside for a body on the word of its header alone.
	trustedSize = 64 << 10

	flagMandatory = 1 << 0
	flagImmediate = 1 << 1
)

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

// confirms numbers a channel's publishes and holds a run of acknowledgements back, to be sent as one.
type confirms struct {
	on          bool
	tag         uint64
	first, last uint64 // of the run; last 0 when there is none
	withheld    bool
}

func (ch *channel) selectConfirms(d *decoder) *exception {
	if d.octet() != 0 {
		return notImplemented("confirm.select without an answer")
	}
	ch.confirms.on = true
	ch.reply(confirmSelectOk)
	return nil
}

func (ch *channel) publish(d *decoder) *exception {
	d.short()
	exchangeName, key, flags := d.shortstr(), d.shortstr(), d.octet()
	if flags&flagImmediate != 0 {
		return notImplemented("immediate=true")
	}
	p := &ch.content
	p.stage, p.mandatory = wantHeader, flags&flagMandatory != 0
	// Names repeat: comparing does not allocate.
	if string(exchangeName) != p.exchange {
		p.exchange = string(exchangeName)
	}
	if string(key) != p.key {
		p.key = string(key)
	}
	return nil
}

func (ch *channel) handleContent(f frame) *exception {
	p := &ch.content
	switch {
	case f.kind == frameHeader && p.stage == wantHeader:
		ch.conn.waitWhileBlocked()
		if e := p.header(f.payload, ch.conn.broker.config.Discard); e != nil {
			return e
		}
	case f.kind == frameBody && p.stage == wantBody:
		if uint64(len(f.payload)) > p.missing {
			return connectionException(codeFrameError, "body is longer than announced")
		}
		p.missing -= uint64(len(f.payload))
		p.payload = append(p.payload, f.payload...)
	default:
		return connectionException(codeUnexpectedFrame, "content frame out of place")
	}
	if p.missing > 0 {
		return nil
	}
	p.stage = noContent
	return ch.complete()
}

// header begins a message. A discarding broker reads all messages of a channel into one buffer.
func (p *content) header(payload []byte, reuse bool) *exception {
	d := decoder{rest: payload}
	class := d.short()
	d.short() // weight, unused
	p.size = d.longlong()
	if d.bad || class != classBasic || !readProperties(d.rest, nil) {
		return connectionException(codeSyntaxError, "malformed content header")
	}
	if p.size > maxMessage {
		return channelException(codePreconditionFailed, fmt.Sprintf("message size %d is larger than configured max size %d", p.size, maxMessage))
	}
	if !reuse || cap(p.payload) > outputHigh {
		p.payload = make([]byte, 0, len(d.rest)+int(min(p.size, trustedSize)))
	}
	p.payload = append(p.payload[:0], d.rest...)
	p.propertiesLen, p.missing, p.stage = len(d.rest), p.size, wantBody
	return nil
}

// waitWhileBlocked holds a publisher back under a resource alarm.
func (c *conn) waitWhileBlocked() {
	g := c.broker.blocked.Load()
	if g == nil {
		return
	}
	c.settle()
	tell, _ := c.capabilities["connection.blocked"].(bool)
	if tell {
		c.out.method(0, connectionBlocked, func(b []byte) []byte { return appendShortstr(b, g.reason) })
		c.out.wake()
	}
	for ; g != nil; g = c.broker.blocked.Load() {
		select {
		case <-g.open:
		case <-c.gone:
			return
		}
	}
	if tell {
		c.out.method(0, connectionUnblocked, nil)
		c.out.wake()
	}
	c.deadlineSince = time.Time{} // it was not read from, so its silence proves nothing
}

// outcome is what became of a publish.
type outcome int

const (
	routed outcome = iota
	unroutable
	rejected
	ignored // came after the connection's end was decided
	lost    // and the connection with it
)

// complete routes the message that has been read, and answers for it.
func (ch *channel) complete() *exception {
	p := &ch.content
	s := stored{
		payload: p.payload, propertiesLen: p.propertiesLen, exchange: p.exchange, key: p.key, mandatory: p.mandatory,
	}
	if ch.confirms.on {
		ch.confirms.tag++
	}
	b := ch.conn.broker
	result, fault, e := b.accept(ch, &s)
	if e != nil {
		return e
	}
	if result == ignored {
		return nil
	}
	if result == routed && b.config.OnMessage != nil {
		b.config.OnMessage(s.message())
	}
	if fault == DropAfter || result == lost {
		ch.conn.cut()
		return nil
	}
	if fault == WithholdConfirm {
		ch.flushConfirms()
		ch.confirms.withheld = true
	}
	if result == unroutable && p.mandatory {
		ch.conn.out.method(ch.id, basicReturn, func(f []byte) []byte {
			f = binary.BigEndian.AppendUint16(f, 312)
			f = appendShortstr(f, "NO_ROUTE")
			return appendShortstr(appendShortstr(f, s.exchange), s.key)
		})
		ch.conn.out.content(ch.id, &s, ch.conn.maxPayload)
	}
	ch.confirm(result != rejected)
	if !b.config.Discard {
		p.payload = nil // the queue's now
	}
	return nil
}

// accept counts a publish, applies the fault that is planned for it, and puts the message into its queues.
func (b *Broker) accept(ch *channel, s *stored) (outcome, Fault, *exception) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ch.conn.dead {
		return ignored, 0, nil
	}
	b.published++
	fault := b.faults[b.published]
	delete(b.faults, b.published)
	switch fault {
	case Nack:
		return rejected, fault, nil
	case Return:
		return unroutable, fault, nil
	case DropBefore:
		ch.conn.dead = true
		return lost, fault, nil
	case CloseChannel:
		return 0, fault, channelException(codePreconditionFailed, fmt.Sprintf("closed at publish %d", b.published))
	case DropAfter:
		ch.conn.dead = true
	}
	result, e := b.route(ch, s)
	return result, fault, e
}

// route stores the message in all queues that it is bound for. The caller holds the lock.
func (b *Broker) route(ch *channel, s *stored) (outcome, *exception) {
	if s.exchange == "" { // the default exchange, to which every queue is bound by its name
		if q := b.queues[s.key]; q != nil {
			return b.store(s, q), nil
		}
		return unroutable, nil
	}
	x := b.exchanges[s.exchange]
	if x == nil {
		return 0, ch.noExchange(s.exchange)
	}
	return b.store(s, x[s.key]...), nil
}

// store puts the message into each of the queues that is not full. The caller holds the lock.
func (b *Broker) store(s *stored, queues ...*queue) outcome {
	if len(queues) == 0 {
		return unroutable
	}
	result := routed
	for _, q := range queues {
		if limit, limited := b.limits[q.name]; limited && q.count >= limit {
			result = rejected
		} else {
			q.push(s)
		}
	}
	return result
}

// confirm answers for the publish that was just read.
func (ch *channel) confirm(ack bool) {
	c := &ch.confirms
	if !c.on || c.withheld {
		return
	}
	if !ack {
		ch.flushConfirms()
		ch.sendConfirm(basicNack, c.tag, false)
		return
	}
	if c.last == 0 {
		c.first = c.tag
		if !slices.Contains(ch.conn.unsettled, ch) {
			ch.conn.unsettled = append(ch.conn.unsettled, ch)
		}
	}
	c.last = c.tag
}

// flushConfirms sends the acknowledgements held back. All before them were answered, so that one may cover the run.
func (ch *channel) flushConfirms() {
	c := &ch.confirms
	if c.last == 0 {
		return
	}
	ch.sendConfirm(basicAck, c.last, c.first != c.last)
	c.last = 0
}

func (ch *channel) sendConfirm(method uint32, tag uint64, multiple bool) {
	ch.conn.out.method(ch.id, method, func(b []byte) []byte {
		return appendBool(binary.BigEndian.AppendUint64(b, tag), multiple)
	})
}
