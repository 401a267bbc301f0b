package rabbitmq

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTheWindowHandsOutTheOldestUnsentMessage compares a window with a plain list of numbers and their states.
func TestTheWindowHandsOutTheOldestUnsentMessage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		model := map[uint64]status{}
		byNumber := map[uint64]*message{}
		pick := func(s status) *message {
			var numbers []uint64
			for n, have := range model {
				if have == s {
					numbers = append(numbers, n)
				}
			}
			if len(numbers) == 0 {
				t.Skip("none in this state")
			}
			slices.Sort(numbers)
			return byNumber[rapid.SampledFrom(numbers).Draw(t, "which")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				m := w.add(make([]byte, 3), nil)
				model[m.seq], byNumber[m.seq] = unsent, m
			},
			"take": func(t *rapid.T) {
				var want uint64
				for n, s := range model {
					if s == unsent && (want == 0 || n < want) {
						want = n
					}
				}
				m := w.take()
				if m == nil {
					if want != 0 {
						t.Fatalf("take gave nothing, want %d", want)
					}
					return
				}
				if m.seq != want {
					t.Fatalf("take gave %d, want %d", m.seq, want)
				}
				model[want] = sent
			},
			"again":   func(t *rapid.T) { m := pick(sent); w.again(m); model[m.seq] = unsent },
			"confirm": func(t *rapid.T) { m := pick(sent); w.remove(m); delete(model, m.seq) },
			"allAgain": func(t *rapid.T) {
				w.allAgain()
				for n := range model {
					model[n] = unsent
				}
			},
			"": func(t *rapid.T) {
				if w.count != len(model) || w.bytes != int64(3*len(model)) {
					t.Fatalf("window counts %d messages of %d bytes, want %d", w.count, w.bytes, len(model))
				}
				var last uint64
				for m := w.first; m != nil; m = m.next {
					if _, ok := model[m.seq]; !ok || m.seq <= last {
						t.Fatalf("message %d does not belong after %d", m.seq, last)
					}
					last = m.seq
				}
			},
		})
	})
}

func TestTheWindowIsBoundedInMessagesAndBytes(t *testing.T) {
	var w window
	if !w.fits(1000, 2, 10) {
		t.Error("an empty window must take a message of any size, or it would never go")
	}
	m := w.add(make([]byte, 6), nil)
	if w.fits(5, 2, 10) {
		t.Error("11 bytes fit into 10")
	}
	if !w.fits(4, 2, 10) {
		t.Error("10 bytes do not fit into 10")
	}
	w.add(nil, nil)
	if w.fits(0, 2, 10) {
		t.Error("a third message fits into two places")
	}
	w.remove(m)
	if !w.fits(5, 2, 10) {
		t.Error("a confirmed message still takes room")
	}
}

func TestFlightsKeepTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := flights{buf: make([]flight, 0, 4)}
		var model []*message
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				m := new(message)
				model = append(model, m)
				q.push(flight{message: m})
			},
			"pop": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("nothing flies")
				}
				if f, ok := q.front(); !ok || f.message != model[0] {
					t.Fatal("another message is at the front")
				}
				q.pop()
				model = model[1:]
			},
			"": func(t *rapid.T) {
				if q.len() != len(model) {
					t.Fatalf("%d fly, want %d", q.len(), len(model))
				}
			},
		})
	})
}

func TestAReturnIsFoundOnceByItsBody(t *testing.T) {
	var r returns
	r.add([]byte("a"))
	r.add([]byte("b"))
	for _, step := range []struct {
		body string
		want bool
	}{{"x", false}, {"b", true}, {"b", false}, {"a", true}, {"a", false}} {
		if got := r.match([]byte(step.body)); got != step.want {
			t.Errorf("match(%q) = %v, want %v", step.body, got, step.want)
		}
	}
}
