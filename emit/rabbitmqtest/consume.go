package rabbitmqtest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
)

// consumer takes a queue's messages to a channel. The broker's lock guards it.
type consumer struct {
	channel   *channel
	tag       string
	queue     *queue
	noAck     bool
	exclusive bool
	prefetch  int // 0 for no limit
	unacked   int
}

// delivered is a message that a client has and did not acknowledge.
type delivered struct {
	tag      uint64
	message  stored
	queue    *queue
	consumer *consumer // nil after basic.get
}

func (q *queue) removeConsumer(k *consumer) {
	q.consumers = slices.DeleteFunc(q.consumers, func(o *consumer) bool { return o == k })
}

func (ch *channel) qos(d *decoder) *exception {
	size, count, global := d.long(), d.short(), d.flags()[0]
	if size != 0 {
		return connectionException(codeNotImplemented, "prefetch_size!=0")
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if global {
		ch.channelPrefetch = int(count)
	} else {
		ch.prefetch = int(count)
	}
	ch.reply(basicQosOk)
	return nil
}

func (ch *channel) consume(d *decoder) *exception {
	d.short()
	name, tag, flag := string(d.shortstr()), string(d.shortstr()), d.flags()
	noAck, exclusive, noWait := flag[1], flag[2], flag[3]
	d.table()
	if d.bad {
		return nil
	}
	b := ch.conn.broker
	if b.config.Discard {
		return connectionException(codeNotImplemented, "consumers, as messages are discarded")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	q, e := ch.queueNamed(name)
	if e != nil {
		return e
	}
	if len(q.consumers) > 0 && (exclusive || q.consumers[0].exclusive) {
		return channelException(codeAccessRefused, fmt.Sprintf("queue '%s' in vhost '%s' in exclusive use", q.name, b.config.VHost))
	}
	if tag == "" {
		b.generated++
		tag = fmt.Sprintf("amq.ctag-%d", b.generated)
	}
	if slices.ContainsFunc(ch.consumers, func(k *consumer) bool { return k.tag == tag }) {
		return connectionException(codeNotAllowed, fmt.Sprintf("attempt to reuse consumer tag '%s'", tag))
	}
	k := &consumer{channel: ch, tag: tag, queue: q, noAck: noAck, exclusive: exclusive, prefetch: ch.prefetch}
	q.consumers = append(q.consumers, k)
	ch.consumers = append(ch.consumers, k)
	if !noWait {
		ch.conn.out.method(ch.id, basicConsumeOk, func(f []byte) []byte { return appendShortstr(f, tag) })
	}
	ch.conn.out.wake()
	return nil
}

func (ch *channel) cancel(d *decoder) *exception {
	tag, noWait := string(d.shortstr()), d.flags()[0]
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.IndexFunc(ch.consumers, func(k *consumer) bool { return k.tag == tag }); i >= 0 {
		k := ch.consumers[i]
		ch.consumers = slices.Delete(ch.consumers, i, i+1)
		b.vacate(k)
	}
	if !noWait {
		ch.conn.out.method(ch.id, basicCancelOk, func(f []byte) []byte { return appendShortstr(f, tag) })
	}
	return nil
}

// cancelled tells the client that k's queue is gone. The caller holds the broker's lock.
func (ch *channel) cancelled(k *consumer) {
	ch.consumers = slices.DeleteFunc(ch.consumers, func(o *consumer) bool { return o == k })
	if tell, _ := ch.conn.capabilities["consumer_cancel_notify"].(bool); !tell {
		return
	}
	ch.conn.out.method(ch.id, basicCancel, func(f []byte) []byte { return append(appendShortstr(f, k.tag), 1) })
	ch.conn.out.wake()
}

func (ch *channel) get(d *decoder) *exception {
	d.short()
	name, noAck := string(d.shortstr()), d.flags()[0]
	if d.bad {
		return nil
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	q, e := ch.queueNamed(name)
	if e != nil {
		return e
	}
	if q.discard || q.len() == 0 {
		ch.conn.out.method(ch.id, basicGetEmpty, func(f []byte) []byte { return appendShortstr(f, "") })
		return nil
	}
	s := q.pop()
	tag := ch.hand(q, nil, s, noAck)
	ch.conn.out.add(func(f []byte) []byte {
		f, start := openMethod(f, ch.id, basicGetOk)
		f = appendBool(binary.BigEndian.AppendUint64(f, tag), s.redelivered)
		f = appendShortstr(appendShortstr(f, s.exchange), s.key)
		f = closeFrame(binary.BigEndian.AppendUint32(f, uint32(q.len())), start)
		return appendContent(f, ch.id, s.properties(), s.body(), ch.conn.maxPayload)
	})
	return nil
}

// hand numbers a message that goes to the client and, unless it needs no acknowledgement, remembers it.
func (ch *channel) hand(q *queue, k *consumer, s stored, noAck bool) (tag uint64) {
	ch.deliveryTag++
	if noAck {
		return ch.deliveryTag
	}
	q.unacked++
	q.unackedBytes += int64(len(s.body()))
	if k != nil {
		k.unacked++
	}
	ch.unacked = append(ch.unacked, delivered{tag: ch.deliveryTag, message: s, queue: q, consumer: k})
	return ch.deliveryTag
}

// pump delivers to the connection's consumers as long as the writer has room.
func (c *conn) pump() {
	b := c.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.dead || c.closing.Load() {
		return
	}
	for more := true; more; {
		more = false
		for _, ch := range c.channels {
			for _, k := range ch.consumers {
				if c.out.len() > outputBurst {
					c.out.wake() // comes back for the rest
					return
				}
				more = ch.deliver(k) || more
			}
		}
	}
}

// deliver sends one message to k, if there is one and k may have it. The caller holds the broker's lock.
func (ch *channel) deliver(k *consumer) bool {
	q := k.queue
	if q.len() == 0 || !k.noAck && (k.prefetch > 0 && k.unacked >= k.prefetch ||
		ch.channelPrefetch > 0 && len(ch.unacked) >= ch.channelPrefetch) {
		return false
	}
	s := q.pop()
	tag := ch.hand(q, k, s, k.noAck)
	ch.conn.out.add(func(f []byte) []byte {
		f, start := openMethod(f, ch.id, basicDeliver)
		f = appendBool(binary.BigEndian.AppendUint64(appendShortstr(f, k.tag), tag), s.redelivered)
		f = closeFrame(appendShortstr(appendShortstr(f, s.exchange), s.key), start)
		return appendContent(f, ch.id, s.properties(), s.body(), ch.conn.maxPayload)
	})
	return true
}

func (ch *channel) ack(d *decoder) *exception {
	tag, multiple := d.longlong(), d.flags()[0]
	return ch.settleDeliveries(tag, multiple, false)
}

func (ch *channel) reject(d *decoder) *exception {
	tag, requeue := d.longlong(), d.flags()[0]
	return ch.settleDeliveries(tag, false, requeue)
}

func (ch *channel) nack(d *decoder) *exception {
	tag, flag := d.longlong(), d.flags()
	return ch.settleDeliveries(tag, flag[0], flag[1])
}

// settleDeliveries takes one delivery, or all up to it, off what the client has; tag 0 with multiple means all.
func (ch *channel) settleDeliveries(tag uint64, multiple, requeue bool) *exception {
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	i := sort.Search(len(ch.unacked), func(i int) bool { return ch.unacked[i].tag >= tag })
	known := i < len(ch.unacked) && ch.unacked[i].tag == tag
	from, to := i, i+1
	switch {
	case multiple && tag == 0:
		from, to = 0, len(ch.unacked)
	case !known:
		return channelException(codePreconditionFailed, fmt.Sprintf("unknown delivery tag %d", tag))
	case multiple:
		from = 0
	}
	if done := ch.unacked[from:to]; requeue {
		ch.requeue(done)
	} else {
		forgetDeliveries(done)
	}
	if from == 0 {
		clear(ch.unacked[:to]) // lets the collector have the bodies
		ch.unacked = ch.unacked[to:]
	} else {
		ch.unacked = slices.Delete(ch.unacked, from, to)
	}
	ch.conn.out.wake() // a consumer may have more now
	return nil
}

func (ch *channel) recoverAll(d *decoder) *exception {
	if requeue := d.flags()[0]; !requeue {
		return connectionException(codeNotImplemented, "requeue=false")
	}
	b := ch.conn.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	ch.requeue(ch.unacked)
	ch.unacked = nil
	ch.reply(basicRecoverOk)
	return nil
}

// requeue puts deliveries back into their queues. The caller holds the broker's lock.
func (ch *channel) requeue(back []delivered) {
	forgetDeliveries(back)
	byQueue := map[*queue][]stored{}
	for _, d := range back {
		byQueue[d.queue] = append(byQueue[d.queue], d.message)
	}
	for q, messages := range byQueue {
		q.requeue(messages)
		for _, k := range q.consumers {
			k.channel.conn.out.wake()
		}
	}
}

// forgetDeliveries takes deliveries off the books of queues and consumers.
func forgetDeliveries(done []delivered) {
	for _, d := range done {
		d.queue.unacked--
		d.queue.unackedBytes -= int64(len(d.message.body()))
		if d.consumer != nil {
			d.consumer.unacked--
		}
	}
}
