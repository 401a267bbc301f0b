package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

func TestMessagesArriveInOrderAndAsSpecified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.declare()
		r.deliver(1, 100)
		r.check(100)
		var want []string
		for n := 1; n <= 100; n++ {
			want = append(want, body(n))
		}
		if got := r.inQueue(); !slices.Equal(got, want) {
			t.Errorf("queue holds %q", got)
		}
		m := r.broker.Messages(queue)[0]
		if m.DeliveryMode != 2 || m.ContentEncoding != "utf-8" || m.ContentType != "" || !m.Mandatory ||
			m.Exchange != exchange || m.RoutingKey != key {
			t.Errorf("message is not as the platform's worker expects it: %+v", m)
		}
		if s := r.publisher.Stats(); s.Sessions != 1 || s.Again != 0 {
			t.Errorf("something went wrong on the way: %+v", s)
		}
	})
}

func TestNewDoesNotConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		synctest.Wait()
		if n := r.dialled(); n != 0 {
			t.Errorf("dialled %d times before there was anything to publish", n)
		}
		if err := r.publisher.Flush(t.Context(), nil); err != nil {
			t.Errorf("nothing was published, and still Flush says %v", err)
		}
	})
}

func TestWhateverFailsEverythingIsDeliveredAndConfirmedOnce(t *testing.T) {
	faults := map[string]rabbitmqtest.Fault{
		"nack": rabbitmqtest.Nack, "return": rabbitmqtest.Return, "drop before": rabbitmqtest.DropBefore,
		"drop after": rabbitmqtest.DropAfter, "close channel": rabbitmqtest.CloseChannel,
		"withhold confirm": rabbitmqtest.WithholdConfirm,
	}
	const messages = 60
	for name, fault := range faults {
		for _, at := range []int{1, 2, messages / 2, messages - 1, messages} {
			for _, window := range []int{1, 8, 1000} {
				for _, refresh := range []bool{true, false} {
					if !refresh && fault != rabbitmqtest.Return {
						continue // it makes no difference
					}
					t.Run(fmt.Sprintf("%s at %d, window %d, refresh %v", name, at, window, refresh), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							r := newRig(t, func(_ *rig, c *rabbitmq.Config) {
								c.Window = window
								if refresh {
									c.Refresh = same(*c)
								}
							})
							r.declare()
							r.broker.FaultAt(at, fault)
							r.deliver(1, messages)
							r.check(messages)
							s := r.publisher.Stats()
							if s.Again == 0 {
								t.Errorf("the fault was not met: %+v", s)
							}
							one := fault == rabbitmqtest.Nack || fault == rabbitmqtest.Return
							if one && (s.Again > uint64(window) || s.Returned+s.Nacked != 1) {
								t.Errorf("more was published again than what the broker did not take and what was behind it: %+v", s)
							}
							if !one && s.Nacked > 0 {
								t.Errorf("a lost channel was taken for a full queue: %+v", s)
							}
						})
					})
				}
			}
		}
	}
}

func TestWhatOvertookARefusedMessageGoesAgainBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(*rig, *rabbitmq.Config) {})
		r.declare()
		r.broker.FaultAt(5, rabbitmqtest.Nack)
		r.broker.FaultAt(9, rabbitmqtest.Nack)
		r.deliver(1, 60)
		last := map[string]int{}
		for i, m := range r.broker.Messages(queue) {
			last[string(m.Body)] = i
		}
		for n := 2; n <= 60; n++ {
			if before, after := last[body(n-1)], last[body(n)]; before > after {
				t.Errorf("message %d is last seen behind message %d", n-1, n)
			}
		}
		if len(last) != 60 {
			t.Errorf("%d different messages arrived", len(last))
		}
	})
}

// same is a Refresh that changes nothing.
func same(c rabbitmq.Config) rabbitmq.Refresh {
	return func(context.Context) (rabbitmq.Connection, string, string, error) {
		return c.Connection, c.Exchange, c.RoutingKey, nil
	}
}

func TestManyFaultsInARowLoseNothing(t *testing.T) {
	for seed := range 20 {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *rig, c *rabbitmq.Config) { c.Refresh = same(*c); c.Window = 20 })
				r.declare()
				for n, i := uint64(seed)*7919+1, 1; i < 400; i++ {
					n = n*6364136223846793005 + 1442695040888963407
					if n>>60 < 3 {
						r.broker.FaultAt(i, rabbitmqtest.Fault(1+(n>>40)%6))
					}
				}
				r.deliver(1, 200)
				r.check(200)
			})
		})
	}
}

func TestOrderIsKeptAcrossALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) { c.Window = 20 })
		r.declare()
		r.broker.FaultAt(30, rabbitmqtest.DropBefore)
		r.deliver(1, 60)
		r.check(60)
		seen := map[string]bool{}
		var first []string
		for _, b := range r.inQueue() {
			if !seen[b] {
				seen[b] = true
				first = append(first, b)
			}
		}
		for i, b := range first {
			if b != body(i+1) {
				t.Fatalf("message %s arrived in place %d", b, i+1)
			}
		}
	})
}

func TestConcurrentPublishersLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.declare()
		r.broker.FaultAt(77, rabbitmqtest.DropAfter)
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() {
				if err := r.publish(t.Context(), 40*i+1, 40*i+40); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		r.deliver(201, 201)
		r.check(201)
	})
}

func TestTheWindowHoldsPublishUpUntilItsContextEnds(t *testing.T) {
	for name, adapt := range map[string]func(*rabbitmq.Config){
		"messages": func(c *rabbitmq.Config) { c.Window = 3 },
		"bytes":    func(c *rabbitmq.Config) { c.WindowBytes = int64(3 * len(body(1))) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *rig, c *rabbitmq.Config) { c.ConfirmTimeout = time.Hour; adapt(c) })
				r.declare()
				r.broker.FaultAt(1, rabbitmqtest.WithholdConfirm)
				if err := r.publish(t.Context(), 1, 3); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := r.publish(ctx, 4, 4); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a fourth message was taken into a window of three: %v", err)
				}
				if s := r.publisher.Stats(); s.Unconfirmed != 3 || s.Published != 3 {
					t.Errorf("a message that was not taken over is in the books: %+v", s)
				}
				r.deliver(4, 4)
				r.check(4)
			})
		})
	}
}

func TestAMessageLargerThanTheWindowGoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) { c.WindowBytes = 1000 })
		r.declare()
		large := strings.Repeat("x", 300_000)
		for range 3 {
			if err := r.publisher.Publish(t.Context(), []byte(large), nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.publisher.Flush(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got := r.inQueue(); len(got) != 3 || got[2] != large {
			t.Errorf("%d messages arrived", len(got))
		}
	})
}

func TestFlushHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) { c.ConfirmTimeout = time.Hour })
		r.declare()
		r.broker.FaultAt(2, rabbitmqtest.WithholdConfirm)
		if err := r.publish(t.Context(), 1, 3); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := r.publisher.Flush(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush says %v with two messages unconfirmed", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("Flush took %v with a second to do so", took)
		}
	})
}

func TestCloseWakesWaitingCallsAndConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) { c.ConfirmTimeout = time.Hour; c.Window = 1 })
		r.declare()
		r.broker.FaultAt(1, rabbitmqtest.WithholdConfirm)
		if err := r.publish(t.Context(), 1, 1); err != nil {
			t.Fatal(err)
		}
		answers := make(chan error, 2)
		go func() { answers <- r.publish(t.Context(), 2, 2) }()
		go func() { answers <- r.publisher.Flush(t.Context(), nil) }()
		synctest.Wait()
		if err := r.publisher.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-answers; !errors.Is(err, rabbitmq.ErrClosed) {
				t.Errorf("a waiting call says %v after Close", err)
			}
		}
		if err := r.publish(t.Context(), 3, 3); !errors.Is(err, rabbitmq.ErrClosed) {
			t.Errorf("Publish says %v after Close", err)
		}
		if len(r.confirmed) != 0 {
			t.Errorf("confirmed without the broker's word: %v", r.confirmed)
		}
	})
}

func TestCloseIsQuickWhenTheBrokerDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.declare()
		r.deliver(1, 1)
		r.broker.Block("memory")
		if err := r.publisher.Publish(t.Context(), make([]byte, 1<<20), nil, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the writer is in the middle of it
		began := time.Now()
		if err := r.publisher.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}
