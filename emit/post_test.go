package emit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"weak"

	"go.uber.org/zap"
)

// hoarder is a broker that has several messages at a time, settles them on a goroutine of its own, in any order, and spoils each
// text when it is through with it.
type hoarder struct {
	mu    sync.Mutex
	held  []held
	seen  map[string]int // texts by how often they were found whole as they were settled
	large int            // length from which on messages are refused
	rooms map[*byte]bool // where texts were
}

type held struct {
	body    []byte
	copied  string // as it was handed over
	settled func(refused error)
}

// spoil makes sure that whoever reads a text that is the publisher's no more finds out.
func spoil(body []byte) {
	for i := range body {
		body[i] = '!'
	}
}

func (h *hoarder) Publish(ctx context.Context, body []byte, settled func(error), _ func()) error {
	h.mu.Lock()
	h.held = append(h.held, held{body, string(body), settled})
	h.rooms[&body[0]] = true
	n := len(h.held)
	h.mu.Unlock()
	if n > 20 {
		return h.Flush(ctx, nil)
	}
	return nil
}

// Flush settles all but some, which wait for the next time.
func (h *hoarder) Flush(context.Context, func()) error {
	h.mu.Lock()
	some := h.held
	rand.Shuffle(len(some), func(i, k int) { some[i], some[k] = some[k], some[i] })
	h.held = slices.Clone(some[:len(some)/3])
	h.mu.Unlock()
	go h.settle(some[len(some)/3:])
	return nil
}

func (h *hoarder) settle(some []held) {
	for _, m := range some {
		if string(m.body) != m.copied {
			panic("a text was changed while the publisher had it")
		}
		h.mu.Lock()
		h.seen[m.copied]++
		h.mu.Unlock()
		if len(m.body) >= h.large {
			m.settled(errors.New("too large")) // its text is read once more
			continue
		}
		spoil(m.body)
		m.settled(nil)
	}
}

func (h *hoarder) left() []held {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held
}

// counted hears of messages.
type counted struct {
	all     sync.WaitGroup
	t       *testing.T
	objects map[string]bool
	mu      sync.Mutex
	refused int
}

func (c *counted) Settled(refused *Refused) {
	defer c.all.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	if refused == nil {
		return
	}
	c.refused++
	if !c.objects[string(refused.Object)] {
		c.t.Errorf("a message was refused with %.80q, which was not sent", refused.Object)
	}
}

func TestTheTextOfAMessageIsThePublishersUntilItIsSettled(t *testing.T) {
	const messages, large = 1000, mostBody - 2000
	h := &hoarder{seen: map[string]int{}, large: large, rooms: map[*byte]bool{}}
	outlet := NewQueueOutlet(h, NewBooks(&works{}, "run", zap.NewNop()), "applicant", nil).(*queueOutlet)
	c := &counted{t: t, objects: map[string]bool{}}
	want := map[string]int{}
	for i := range messages {
		object := fmt.Appendf(nil, `{"n":%d,"text":%q}`, i, strings.Repeat("x", rand.IntN(mostBody)))
		m := Message{Work: "work", Number: int64(i), ID: fmt.Sprintf("tool--%d", i), Sequence: 1, Object: object}
		want[string(messageOf(outlet.envelope, m))]++
		c.mu.Lock()
		c.objects[string(object)] = true
		c.mu.Unlock()
		c.all.Add(1)
		if err := outlet.Send(t.Context(), m, c, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	for len(h.left()) > 0 {
		if err := h.Flush(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	c.all.Wait()
	for text, times := range want {
		if h.seen[text] != times {
			t.Fatalf("a message arrived %d times whole, want %d: %.80q", h.seen[text], times, text)
		}
	}
	if c.refused == 0 || len(h.rooms) >= messages {
		t.Errorf("%d messages were refused, and %d of %d had room of their own", c.refused, len(h.rooms), messages)
	}
}

func TestWhatIsKeptForMessagesIsBounded(t *testing.T) {
	h := &hoarder{seen: map[string]int{}, large: 1 << 30, rooms: map[*byte]bool{}}
	outlet := NewQueueOutlet(h, NewBooks(&works{}, "run", zap.NewNop()), "applicant", nil).(*queueOutlet)
	for i := range 3 * mostPosts {
		p := &post{outlet: outlet, body: bytes.Repeat([]byte("x"), 1+i%(2*mostBody))}
		outlet.posts.putBack(p)
	}
	if n := len(outlet.posts.spare); n != mostPosts {
		t.Errorf("%d are kept", n)
	}
	for p := outlet.posts.take(); p != nil; p = outlet.posts.take() {
		if cap(p.body) > mostBody {
			t.Fatalf("one of %d bytes is kept", cap(p.body))
		}
	}
}

func TestALargeTextIsLetGoOfOnceItIsSettled(t *testing.T) {
	outlet := &queueOutlet{}
	for range mostPosts {
		outlet.posts.putBack(&post{outlet: outlet})
	}
	var large []weak.Pointer[post]
	for range mostPosts {
		p := outlet.posts.take()
		p.body = make([]byte, 1<<20)
		large = append(large, weak.Make(p))
		outlet.posts.putBack(p)
	}
	runtime.GC()
	kept := 0
	for _, p := range large {
		if p.Value() != nil {
			kept++
		}
	}
	if kept > 0 {
		t.Errorf("%d texts are kept", kept)
	}
	runtime.KeepAlive(outlet)
}
