package rabbitmqtest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// method is a method frame as a client sends it.
func method(channel uint16, id uint32, arguments ...[]byte) []byte {
	b, at := openMethod(nil, channel, id)
	return closeFrame(append(b, bytes.Join(arguments, nil)...), at)
}

func short(s string) []byte { return appendShortstr(nil, s) }

// login is the handshake of a client up to connection.start-ok.
func login(password string, capabilities table) []byte {
	properties := appendTable(nil, table{"capabilities": capabilities})
	return append([]byte("AMQP\x00\x00\x09\x01"),
		method(0, connectionStartOk, properties, short("PLAIN"), appendLongstr(nil, "\x00guest\x00"+password), short("en_US"))...)
}

// greeting is all that a client says to have a connection.
func greeting(heartbeat uint16) []byte {
	tune := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 2, 0, 0}, heartbeat) // any channels, frames of 128 KiB
	return bytes.Join([][]byte{
		login("guest", table{"connection.blocked": true}),
		method(0, connectionTuneOk, tune), method(0, connectionOpen, short("/"), short(""), []byte{0}),
	}, nil)
}

// publishFrames is a publish to queue q on channel 1.
func publishFrames(body []byte, maxPayload int) []byte {
	return appendContent(method(1, basicPublish, []byte{0, 0}, short(""), short("q"), []byte{1}), 1, []byte{0, 0}, body, maxPayload)
}

// openQueue opens channel 1, declares q there and asks for confirms.
func openQueue() []byte {
	return bytes.Join([][]byte{
		method(1, channelOpen, short("")), method(1, queueDeclare, []byte{0, 0}, short("q"), []byte{2}, make([]byte, 4)),
		method(1, confirmSelect, []byte{0}),
	}, nil)
}

// said is one method from the broker, with its arguments.
type said struct {
	channel uint16
	method  uint32
	decoder
}

// converse sends input in pieces of at most chunk octets and returns what the broker says until one side closes the
// connection; input should lead to that.
func converse(t testing.TB, b *Broker, input []byte, chunk int) (all []said) {
	t.Helper()
	nc, err := b.Dial("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for piece := range slices.Chunk(input, chunk) {
			if _, err := nc.Write(piece); err != nil {
				return // the broker may hang up first
			}
		}
	}()
	defer func() { _ = nc.Close(); <-wrote }()
	for in := bufio.NewReader(nc); ; {
		head := make([]byte, 7)
		if _, err := io.ReadFull(in, head); err != nil {
			if err != io.EOF {
				t.Fatalf("the broker went silent: %v", err)
			}
			return all
		}
		if string(head[:4]) == "AMQP" {
			return append(all, said{})
		}
		rest := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
		if _, err := io.ReadFull(in, rest); err != nil || rest[len(rest)-1] != frameEnd {
			t.Fatalf("half a frame: %v", err)
		}
		if head[0] != frameMethod {
			continue
		}
		s := said{channel: binary.BigEndian.Uint16(head[1:]), decoder: decoder{rest: rest[:len(rest)-1]}}
		s.method = s.long()
		all = append(all, s)
		if s.method == connectionClose || s.method == connectionCloseOk {
			return all
		}
	}
}

func goodbye() []byte { return method(0, connectionClose, make([]byte, 7)) }

func memoryBroker(t testing.TB, config Config) *Broker {
	t.Helper()
	config.InMemory = true
	b, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() }) // has no socket whose closing could fail
	return b
}

func TestARefusedLoginIsExplainedToAClientThatCanHearIt(t *testing.T) {
	b := memoryBroker(t, Config{})
	got := converse(t, b, login("wrong", table{"authentication_failure_close": true}), 1<<20)
	last := got[len(got)-1]
	if last.method != connectionClose || last.short() != codeAccessRefused {
		t.Errorf("the broker said %+v", got)
	}
	got = converse(t, b, login("wrong", nil), 1<<20)
	if last := got[len(got)-1]; last.method != connectionStart {
		t.Errorf("the broker said %+v", got)
	}
}

func TestABrokenProtocolEndsTheConnectionWithItsReason(t *testing.T) {
	content := func(payload []byte) []byte {
		b, at := openFrame(nil, frameHeader, 1)
		return closeFrame(append(b, payload...), at)
	}
	publish := method(1, basicPublish, []byte{0, 0}, short(""), short("q"), []byte{0})
	for name, row := range map[string]struct {
		input []byte
		code  uint16
	}{
		"frame too large":           {[]byte{frameMethod, 0, 1, 0, 2, 0, 0}, codeFrameError},
		"wrong end of frame":        {[]byte{frameMethod, 0, 1, 0, 0, 0, 0, 0}, codeFrameError},
		"unknown frame":             {[]byte{9, 0, 1, 0, 0, 0, 0, frameEnd}, codeFrameError},
		"channel not open":          {method(2, basicGet), codeChannelError},
		"channel opened twice":      {method(1, channelOpen, short("")), codeChannelError},
		"channel out of range":      {method(2048, channelOpen, short("")), codeNotAllowed},
		"arguments cut short":       {method(1, queueDeclare, []byte{0, 0, 9}), codeSyntaxError},
		"header before publish":     {content(make([]byte, 14)), codeUnexpectedFrame},
		"method instead of header":  {slices.Concat(publish, method(1, basicGet)), codeUnexpectedFrame},
		"header of another class":   {slices.Concat(publish, content(make([]byte, 14))), codeSyntaxError},
		"properties cut short":      {slices.Concat(publish, content([]byte{0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0})), codeSyntaxError},
		"body longer than its word": {slices.Concat(publish, content([]byte{0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}), []byte{frameBody, 0, 1, 0, 0, 0, 2, 1, 2, frameEnd}), codeFrameError},
		"method of no class":        {method(1, 99<<16|1), codeNotImplemented},
		"transactions":              {method(1, 90<<16|10), codeNotImplemented},
		"method on channel 0":       {method(0, basicGet), codeCommandInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			got := converse(t, memoryBroker(t, Config{}), slices.Concat(greeting(0), openQueue(), row.input), 1<<20)
			last := got[len(got)-1]
			if last.method != connectionClose {
				t.Fatalf("the broker said %+v", got)
			}
			if code := last.short(); code != row.code {
				t.Errorf("closed with %d %s, want %d", code, last.shortstr(), row.code)
			}
		})
	}
	t.Run("another protocol", func(t *testing.T) {
		got := converse(t, memoryBroker(t, Config{}), []byte("GET / HTTP/1.1\r\n\r\n"), 1<<20)
		if len(got) != 1 || got[0].method != 0 {
			t.Errorf("the broker said %+v", got)
		}
	})
	t.Run("a message beyond the limit", func(t *testing.T) {
		input := slices.Concat(greeting(0), openQueue(), publish, content([]byte{0, 60, 0, 0, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0}), goodbye())
		got := converse(t, memoryBroker(t, Config{}), input, 1<<20)
		if last := got[len(got)-2]; last.method != channelClose || last.short() != codePreconditionFailed {
			t.Errorf("the broker said %+v", got)
		}
	})
}

func TestAcknowledgementsThatAreDueTogetherAreSentAsOne(t *testing.T) {
	b := memoryBroker(t, Config{})
	b.FaultAt(60, Nack)
	input := slices.Concat(greeting(0), openQueue(), bytes.Repeat(publishFrames([]byte("body"), 100), 100), goodbye())
	var got []string
	for _, s := range converse(t, b, input, 1<<20) {
		if s.method == basicAck || s.method == basicNack {
			got = append(got, fmt.Sprint(s.method == basicAck, s.longlong(), s.octet()))
		}
	}
	if diff := cmp.Diff([]string{"true 59 1", "false 60 0", "true 100 1"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestMessagesComeThroughHoweverTheirFramesAreCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bodies := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 1, 20).Draw(t, "bodies")
		frame := rapid.IntRange(1, 64).Draw(t, "frame")
		chunk := rapid.IntRange(1, 200).Draw(t, "chunk")
		discard := rapid.Bool().Draw(t, "discard")
		var called [][]byte
		b, err := Start(Config{InMemory: true, Discard: discard, OnMessage: func(m Message) {
			called = append(called, slices.Clone(m.Body))
		}})
		if err != nil {
			t.Fatal(err)
		}
		input := slices.Concat(greeting(0), openQueue())
		size := 0
		for _, body := range bodies {
			input = append(input, publishFrames(body, frame)...)
			size += len(body)
		}
		nc, err := b.Dial("", "")
		if err != nil {
			t.Fatal(err)
		}
		drained := make(chan error)
		go func() { _, err := io.Copy(io.Discard, nc); drained <- err }()
		for piece := range slices.Chunk(append(input, goodbye()...), chunk) {
			if _, err := nc.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-drained; err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(nc.Close(), b.Close()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(bodies, called, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		if n, bytes := b.Depth("q"); n != len(bodies) || bytes != int64(size) {
			t.Fatalf("%d messages, %d bytes", n, bytes)
		}
	})
}

// FuzzFrames feeds a broker what a client might say after its greeting, or instead of it. The broker must neither panic
// nor hang, and gives back all that it took.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("AMQP\x00\x00\x09\x01"), false)
	f.Add(greeting(1), false)
	f.Add(login("guest", table{"a": table{"b": true}}), false)
	f.Add(slices.Concat(openQueue(), publishFrames([]byte("0123456789"), 4), publishFrames(nil, 4), goodbye()), true)
	f.Add(slices.Concat(openQueue(), publishFrames([]byte("a"), 4),
		method(1, basicGet, []byte{0, 0}, short("q"), []byte{1}), method(1, queuePurge, []byte{0, 0}, short("q"), []byte{0}),
		method(1, queueDelete, []byte{0, 0}, short("q"), []byte{0}), method(1, channelClose, make([]byte, 7))), true)
	f.Add(slices.Concat(openQueue(),
		method(1, exchangeDeclare, []byte{0, 0}, short("x"), short("direct"), []byte{2}, make([]byte, 4)),
		method(1, queueBind, []byte{0, 0}, short("q"), short("x"), short("k"), []byte{0}, make([]byte, 4))), true)
	f.Fuzz(func(t *testing.T, input []byte, greeted bool) {
		b, err := Start(Config{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		nc, err := b.Dial("", "")
		if err != nil {
			t.Fatal(err)
		}
		drained := make(chan struct{})
		go func() { defer close(drained); _, _ = io.Copy(io.Discard, nc) }() // ends when nc is closed
		if greeted {
			input = slices.Concat(greeting(0), input)
		}
		_, _ = nc.Write(input) // the broker may hang up first
		_ = nc.Close()
		<-drained
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if len(b.conns) != 0 {
			t.Error("a connection is left")
		}
	})
}
