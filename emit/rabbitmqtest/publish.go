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
		if e := p.header(f.payload, ch.conn.vhost.config); e != nil {
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
func (p *content) header(payload []byte, config Config) *exception {
	d := decoder{rest: payload}
	class := d.short()
	d.short() // weight, unused
	p.size = d.longlong()
	if d.bad || class != classBasic || !readProperties(d.rest, nil) {
		return connectionException(codeSyntaxError, "malformed content header")
	}
	if p.size > config.MaxMessageSize {
		why := fmt.Sprintf("message size %d is larger than configured max size %d", p.size, config.MaxMessageSize)
		if config.NamesNoSizes {
			why = "the message is too large"
		}
		return channelException(codePreconditionFailed, why)
	}
	if !config.Discard || cap(p.payload) > outputHigh {
		p.payload = make([]byte, 0, len(d.rest)+int(min(p.size, trustedSize)))
	}
	p.payload = append(p.payload[:0], d.rest...)
	p.propertiesLen, p.missing, p.stage = len(d.rest), p.size, wantBody
	return nil
}

// waitWhileBlocked holds a publisher back under a resource alarm.
func (c *conn) waitWhileBlocked() {
	g := c.vhost.blocked.Load()
	if g == nil {
		return
	}
	c.settle()
	tell, _ := c.capabilities["connection.blocked"].(bool)
	if tell {
		c.out.method(0, connectionBlocked, func(b []byte) []byte { return appendShortstr(b, g.reason) })
		c.out.wake()
	}
	for ; g != nil; g = c.vhost.blocked.Load() {
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

// complete routes the message that has been read, and answers for it.
func (ch *channel) complete() *exception {
	p := &ch.content
	s := stored{
		payload: p.payload, propertiesLen: p.propertiesLen, exchange: p.exchange, key: p.key, mandatory: p.mandatory,
	}
	if ch.confirms.on {
		ch.confirms.tag++
	}
	config := ch.conn.vhost.config
	result, fault, e := ch.accept(&s)
	if e != nil {
		return e
	}
	if result == ignored {
		return nil
	}
	if result == routed && config.OnMessage != nil {
		config.OnMessage(s.message())
	}
	if fault == DropAfter || result == lost {
		ch.conn.cut()
		return nil
	}
	if fault == WithholdConfirm {
		ch.confirms.flush()
		ch.confirms.withheld = true
	}
	if result == unroutable && p.mandatory {
		ch.conn.out.method(ch.id, basicReturn, func(f []byte) []byte {
			f = binary.BigEndian.AppendUint16(f, 312)
			f = appendShortstr(f, "NO_ROUTE")
			return appendShortstr(appendShortstr(f, s.exchange), s.key)
		})
		ch.conn.out.deliver(ch.id, &s, ch.conn.maxPayload)
	}
	if c := &ch.confirms; c.answer(result != rejected) && !slices.Contains(ch.conn.unsettled, c) {
		ch.conn.unsettled = append(ch.conn.unsettled, c)
	}
	if !config.Discard {
		p.payload = nil // the queue's now
	}
	return nil
}

// accept counts a publish, applies the fault that is planned for it, and puts the message into its queues.
func (ch *channel) accept(s *stored) (outcome, Fault, *exception) {
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	if ch.conn.dead {
		return ignored, 0, nil
	}
	v.published++
	fault := v.strike(v.published)
	switch fault {
	case Nack:
		return rejected, fault, nil
	case Return:
		return unroutable, fault, nil
	case DropBefore:
		ch.conn.dead = true
		return lost, fault, nil
	case CloseChannel:
		return 0, fault, channelException(codePreconditionFailed, fmt.Sprintf("closed at publish %d", v.published))
	case DropAfter:
		ch.conn.dead = true
	}
	result, e := v.route(s)
	return result, fault, e
}
