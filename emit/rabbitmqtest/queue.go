package rabbitmqtest

// Message is one message as the publisher sent it. Body is shared with the broker: read it, do not write to it.
type Message struct {
	Exchange, RoutingKey         string
	Body                         []byte
	DeliveryMode                 uint8
	ContentType, ContentEncoding string
	Mandatory                    bool
}

// stored is a message in a queue. Its properties stay encoded: most are never looked at, and who gets or is returned the
// message has them back octet by octet.
type stored struct {
	payload       []byte // properties, then body
	propertiesLen int
	exchange, key string
	mandatory     bool
}

func (s *stored) properties() []byte { return s.payload[:s.propertiesLen] }
func (s *stored) body() []byte       { return s.payload[s.propertiesLen:] }

func (s *stored) message() Message {
	m := Message{Exchange: s.exchange, RoutingKey: s.key, Body: s.body(), Mandatory: s.mandatory}
	readProperties(s.properties(), &m)
	return m
}

// propertyKinds are the basic class's properties, from flag bit 15 down: s short string, t table, o octet, T time.
const propertyKinds = "sstoossssTssss"

// readProperties puts what a Message shows into m, which may be nil, and reports whether the list is well formed.
func readProperties(list []byte, m *Message) bool {
	d := decoder{rest: list}
	flags := d.short()
	for i, kind := range []byte(propertyKinds) {
		if flags&(1<<(15-i)) == 0 {
			continue
		}
		switch kind {
		case 't':
			d.longstr()
		case 'T':
			d.longlong()
		case 'o':
			v := d.octet()
			if m != nil && i == 3 {
				m.DeliveryMode = v
			}
		case 's':
			v := d.shortstr()
			switch {
			case m == nil:
			case i == 0:
				m.ContentType = string(v)
			case i == 1:
				m.ContentEncoding = string(v)
			}
		}
	}
	// Bit 1 is reserved and bit 0 would announce a second word of flags, which this class has no use for.
	return !d.bad && flags&3 == 0 && len(d.rest) == 0
}

// exchange routes by equal key. The broker's lock guards it.
type exchange map[string][]*queue

// bound reports whether any queue is bound to the exchange.
func (x exchange) bound() bool {
	for _, queues := range x {
		if len(queues) > 0 {
			return true
		}
	}
	return false
}

// queue holds its messages; in a discarding broker it counts them only. The broker's lock guards it.
type queue struct {
	name    string
	discard bool
	ready   []stored
	count   int
	bytes   int64 // of their bodies
}

func (q *queue) push(s *stored) {
	q.count++
	q.bytes += int64(len(s.body()))
	if !q.discard {
		q.ready = append(q.ready, *s)
	}
}

// pop takes the oldest of the messages that are kept.
func (q *queue) pop() (s stored, ok bool) {
	if len(q.ready) == 0 {
		return stored{}, false
	}
	s, q.ready[0] = q.ready[0], stored{} // lets the collector have the body
	q.ready = q.ready[1:]
	q.count--
	q.bytes -= int64(len(s.body()))
	return s, true
}

func (q *queue) purge() (count int) {
	count = q.count
	q.ready, q.count, q.bytes = nil, 0, 0
	return count
}
