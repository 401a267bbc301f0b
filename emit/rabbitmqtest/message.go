package rabbitmqtest

// Message is one message as the publisher sent it. Body is shared with the broker: read it, do not write to it.
type Message struct {
	Exchange, RoutingKey         string
	Body                         []byte
	DeliveryMode                 uint8
	ContentType, ContentEncoding string
	Mandatory                    bool
	// Number counts the publishes of the broker's life, those of all connections and those that failed, from 1.
	Number int
}

// stored is a message in a queue. Its properties stay encoded: most are never looked at, and a consumer gets them back
// octet by octet.
type stored struct {
	payload       []byte // properties, then body
	propertiesLen int
	exchange, key string
	number        int
	// position orders the messages of a queue, so that one that is put back finds its place.
	position               uint64
	mandatory, redelivered bool
}

func (s *stored) properties() []byte { return s.payload[:s.propertiesLen] }
func (s *stored) body() []byte       { return s.payload[s.propertiesLen:] }

func (s *stored) message() Message {
	m := Message{
		Exchange: s.exchange, RoutingKey: s.key, Body: s.body(), Mandatory: s.mandatory, Number: s.number,
	}
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

// fifo is a queue in one slice; what was taken is cut off its front once it is the greater part.
type fifo[T any] struct {
	buf  []T
	head int
}

func (f *fifo[T]) len() int   { return len(f.buf) - f.head }
func (f *fifo[T]) items() []T { return f.buf[f.head:] }
func (f *fifo[T]) push(v T)   { f.buf = append(f.buf, v) }
func (f *fifo[T]) reset()     { f.buf, f.head = nil, 0 }

func (f *fifo[T]) pop() T {
	var zero T
	v := f.buf[f.head]
	f.buf[f.head] = zero // lets the collector have the body
	f.head++
	if f.head >= 1024 && f.head*2 >= len(f.buf) {
		n := copy(f.buf, f.buf[f.head:])
		clear(f.buf[n:])
		f.buf, f.head = f.buf[:n], 0
	}
	return v
}
