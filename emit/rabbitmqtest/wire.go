package rabbitmqtest

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
)

// Frame types and the octet that ends each frame.
const (
	frameMethod    = 1
	frameHeader    = 2
	frameBody      = 3
	frameHeartbeat = 8
	frameEnd       = 0xCE

	frameOverhead = 8      // type, channel, size and end octet
	frameMax      = 131072 // what RabbitMQ proposes
	frameMin      = 4096
)

// frame is one frame as it came off the wire.
type frame struct {
	kind    byte
	number  uint16 // of its channel; 0 is the connection itself
	payload []byte // valid until the next frame is read
}

// Methods, as class<<16 | method.
const (
	connectionStart     = 10<<16 | 10
	connectionStartOk   = 10<<16 | 11
	connectionTune      = 10<<16 | 30
	connectionTuneOk    = 10<<16 | 31
	connectionOpen      = 10<<16 | 40
	connectionOpenOk    = 10<<16 | 41
	connectionClose     = 10<<16 | 50
	connectionCloseOk   = 10<<16 | 51
	connectionBlocked   = 10<<16 | 60
	connectionUnblocked = 10<<16 | 61

	channelOpen    = 20<<16 | 10
	channelOpenOk  = 20<<16 | 11
	channelClose   = 20<<16 | 40
	channelCloseOk = 20<<16 | 41

	exchangeDeclare   = 40<<16 | 10
	exchangeDeclareOk = 40<<16 | 11
	exchangeDelete    = 40<<16 | 20
	exchangeDeleteOk  = 40<<16 | 21

	queueDeclare   = 50<<16 | 10
	queueDeclareOk = 50<<16 | 11
	queueBind      = 50<<16 | 20
	queueBindOk    = 50<<16 | 21
	queuePurge     = 50<<16 | 30
	queuePurgeOk   = 50<<16 | 31
	queueDelete    = 50<<16 | 40
	queueDeleteOk  = 50<<16 | 41

	basicPublish  = 60<<16 | 40
	basicReturn   = 60<<16 | 50
	basicGet      = 60<<16 | 70
	basicGetOk    = 60<<16 | 71
	basicGetEmpty = 60<<16 | 72
	basicAck      = 60<<16 | 80
	basicNack     = 60<<16 | 120

	confirmSelect   = 85<<16 | 10
	confirmSelectOk = 85<<16 | 11
)

const classBasic = 60

// Reply codes.
const (
	codeConnectionForced   = 320
	codeAccessRefused      = 403
	codeNotFound           = 404
	codePreconditionFailed = 406
	codeFrameError         = 501
	codeSyntaxError        = 502
	codeCommandInvalid     = 503
	codeChannelError       = 504
	codeUnexpectedFrame    = 505
	codeNotAllowed         = 530
	codeNotImplemented     = 540
)

// codeNames are what RabbitMQ puts before its texts.
var codeNames = map[uint16]string{
	codeConnectionForced: "CONNECTION_FORCED", codeAccessRefused: "ACCESS_REFUSED", codeNotFound: "NOT_FOUND",
	codePreconditionFailed: "PRECONDITION_FAILED", codeFrameError: "FRAME_ERROR", codeSyntaxError: "SYNTAX_ERROR",
	codeCommandInvalid: "COMMAND_INVALID", codeChannelError: "CHANNEL_ERROR", codeUnexpectedFrame: "UNEXPECTED_FRAME",
	codeNotAllowed: "NOT_ALLOWED", codeNotImplemented: "NOT_IMPLEMENTED",
}

// exception is a protocol error that the client is told about: it ends the channel or, when hard, the connection.
type exception struct {
	code   uint16
	reason string
	hard   bool
	method uint32 // that caused it, 0 when none did
}

func channelException(code uint16, reason string) *exception {
	return &exception{code: code, reason: reason}
}

func connectionException(code uint16, reason string) *exception {
	return &exception{code: code, reason: reason, hard: true}
}

func notImplemented(what string) *exception { return connectionException(codeNotImplemented, what) }

// Error makes an exception travel beside the errors of the socket.
func (e *exception) Error() string { return codeNames[e.code] + " - " + e.reason }

func appendException(b []byte, e *exception) []byte {
	b = binary.BigEndian.AppendUint16(b, e.code)
	b = appendShortstr(b, e.Error())
	return binary.BigEndian.AppendUint32(b, e.method)
}

// table is an AMQP field table.
type table map[string]any

// maxTableDepth bounds nesting, which the format does not.
const maxTableDepth = 16

// decoder reads values off a frame's payload. Past the end, and after anything malformed, it yields zero values and is
// bad: callers read all arguments and look once.
type decoder struct {
	rest  []byte
	bad   bool
	depth int
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.rest) {
		d.bad = true
		return nil
	}
	head := d.rest[:n]
	d.rest = d.rest[n:]
	return head
}

func (d *decoder) octet() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) short() uint16 {
	if b := d.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) long() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) longlong() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// shortstr and longstr return a part of the payload, which the next frame overwrites.
func (d *decoder) shortstr() []byte { return d.take(int(d.octet())) }

func (d *decoder) longstr() []byte {
	n := d.long()
	if n > math.MaxInt32 {
		d.bad = true
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) table() table {
	inner := decoder{rest: d.longstr(), depth: d.depth + 1}
	if d.bad || inner.depth > maxTableDepth {
		d.bad = true
		return nil
	}
	t := table{}
	for len(inner.rest) > 0 && !inner.bad {
		name := string(inner.shortstr())
		t[name] = inner.value()
	}
	d.bad = d.bad || inner.bad
	return t
}

// valueSizes are the lengths of the kinds of value that are not read, but skipped.
var valueSizes = map[byte]int{
	'b': 1, 'B': 1, 's': 2, 'u': 2, 'I': 4, 'i': 4, 'l': 8, 'L': 8, 'T': 8, 'f': 4, 'd': 8, 'D': 5, 'V': 0,
}

// value reads text, truth and tables of them. Other kinds yield nil: nothing here depends on one.
func (d *decoder) value() any {
	kind := d.octet()
	switch kind {
	case 't':
		return d.octet() != 0
	case 'S':
		return string(d.longstr())
	case 'F':
		return d.table()
	case 'x', 'A':
		d.longstr()
		return nil
	}
	size, known := valueSizes[kind]
	d.bad = d.bad || !known
	d.take(size)
	return nil
}

// openMethod begins a method frame; the caller appends the arguments and calls closeFrame with the same start.
func openMethod(b []byte, id uint16, method uint32) (frame []byte, start int) {
	frame, start = openFrame(b, frameMethod, id)
	return binary.BigEndian.AppendUint32(frame, method), start
}

func openFrame(b []byte, kind byte, id uint16) (frame []byte, start int) {
	start = len(b)
	b = append(b, kind)
	b = binary.BigEndian.AppendUint16(b, id)
	return append(b, 0, 0, 0, 0), start
}

func closeFrame(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start+3:], uint32(len(b)-start-7))
	return append(b, frameEnd)
}

func appendShortstr(b []byte, s string) []byte {
	s = s[:min(len(s), math.MaxUint8)]
	return append(append(b, byte(len(s))), s...)
}

func appendLongstr(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// appendTable writes the kinds of value that a server's properties have: text, truth and tables of them.
func appendTable(b []byte, t table) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	for _, name := range slices.Sorted(maps.Keys(t)) {
		b = appendShortstr(b, name)
		switch v := t[name].(type) {
		case string:
			b = appendLongstr(append(b, 'S'), v)
		case bool:
			b = appendBool(append(b, 't'), v)
		case table:
			b = appendTable(append(b, 'F'), v)
		default:
			b = append(b, 'V')
		}
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendContent writes the header and body frames of a message whose frames may carry maxPayload octets.
func appendContent(b []byte, id uint16, properties, body []byte, maxPayload int) []byte {
	b, start := openFrame(b, frameHeader, id)
	b = binary.BigEndian.AppendUint16(b, classBasic)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(len(body)))
	b = closeFrame(append(b, properties...), start)
	for len(body) > 0 {
		n := min(len(body), maxPayload)
		b, start = openFrame(b, frameBody, id)
		b = closeFrame(append(b, body[:n]...), start)
		body = body[n:]
	}
	return b
}
