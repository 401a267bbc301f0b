package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

func refuse(t *testing.T, r *rig, yes bool) {
	t.Helper()
	if err := r.broker.Refuse(yes); err != nil {
		t.Fatal(err)
	}
}

func TestABrokerThatIsDownAtStartIsWaitedForWithoutATightLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) { c.Backoff = remote.Backoff{}; c.Log = zap.New(core) })
		r.declare()
		refuse(t, r, true)
		done := make(chan error, 1)
		go func() { done <- r.publish(t.Context(), 1, 20) }()
		time.Sleep(10 * time.Minute)
		// 20 attempts of 15 to 30 s each, and some eight while the wait grows.
		if n := r.dialled(); n < 20 || n > 55 {
			t.Errorf("dialled %d times in ten minutes", n)
		}
		refuse(t, r, false)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.deliver(21, 21)
		r.check(21)
		if n := logs.FilterLevelExact(zap.WarnLevel).Len(); n != 1 {
			t.Errorf("%d warnings for one outage", n)
		}
		if n := logs.FilterLevelExact(zap.InfoLevel).Len(); n != 1 {
			t.Errorf("%d lines at info for one recovery", n)
		}
		for _, e := range logs.All() {
			if line := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(line, password) {
				t.Errorf("the password is in the log: %s", line)
			}
		}
	})
}

func TestPublishToABrokerThatIsDownEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		refuse(t, r, true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := r.publish(ctx, 1, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish says %v", err)
		}
		if s := r.publisher.Stats(); s.Published != 0 || s.Unconfirmed != 0 {
			t.Errorf("the message was taken over: %+v", s)
		}
	})
}

func TestAConnectionLostWithConfirmsOutstandingLosesNothing(t *testing.T) {
	for name, lose := range map[string]func(*rig){
		"dropped":  func(r *rig) { r.broker.Drop() },
		"shutdown": func(r *rig) { r.broker.CloseConnections("broker forced connection closure with reason 'shutdown'") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.declare()
				r.deliver(1, 10)
				r.broker.FaultAt(11, rabbitmqtest.WithholdConfirm)
				if err := r.publish(t.Context(), 11, 15); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				refuse(t, r, true)
				lose(r)
				time.Sleep(time.Minute)
				refuse(t, r, false)
				r.deliver(16, 20)
				r.check(20)
			})
		})
	}
}

func TestAConnectionLostWhileIdleIsOpenedAgainWhenNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.declare()
		r.deliver(1, 10)
		r.broker.Drop()
		before := r.dialled()
		time.Sleep(time.Hour)
		if n := r.dialled() - before; n != 0 {
			t.Errorf("dialled %d times with nothing to deliver", n)
		}
		r.deliver(11, 20)
		r.check(20)
	})
}

func TestAnIdleConnectionIsKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.declare()
		r.deliver(1, 5)
		time.Sleep(20 * time.Second)
		r.deliver(6, 10)
		time.Sleep(time.Hour)
		r.deliver(11, 20)
		r.check(20)
		if s := r.publisher.Stats(); s.Sessions != 1 {
			t.Errorf("the connection did not last an hour: %+v", s)
		}
	})
}

func TestAConfirmThatNeverComesCostsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.declare()
		r.deliver(1, 3)
		r.broker.FaultAt(4, rabbitmqtest.WithholdConfirm)
		began := time.Now()
		r.deliver(4, 6)
		r.check(6)
		if took := time.Since(began); took < time.Minute || took > time.Minute+5*time.Second {
			t.Errorf("the default of a minute took %v", took)
		}
		if s := r.publisher.Stats(); s.Sessions != 2 {
			t.Errorf("want a second session: %+v", s)
		}
	})
}

func TestWhoWaitsForABlockedBrokerIsCalledMeanwhile(t *testing.T) {
	calls := map[string]func(ctx context.Context, r *rig, meanwhile func()) error{
		"Publish": func(ctx context.Context, r *rig, meanwhile func()) error {
			return r.publisher.Publish(ctx, []byte(body(5)), nil, meanwhile)
		},
		"Flush": func(ctx context.Context, r *rig, meanwhile func()) error { return r.publisher.Flush(ctx, meanwhile) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.declare()
				r.deliver(1, 3)
				r.broker.Block("low on memory")
				if err := r.publish(t.Context(), 4, 4); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // nothing changes any more
				limited, end := context.WithTimeout(t.Context(), time.Minute)
				defer end()
				ctx, stop := context.WithCancelCause(limited)
				called, told := 0, errors.New("told to stop")
				if err := call(ctx, r, func() { called++; stop(told) }); !errors.Is(err, told) || called != 1 {
					t.Errorf("called %d times: %v", called, err)
				}
				if err := call(ctx, r, nil); !errors.Is(err, told) {
					t.Errorf("who comes later gets %v", err)
				}
			})
		})
	}
}

func TestABlockedConnectionIsWaitedForAndNotTimedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.declare()
		r.deliver(1, 3)
		r.broker.Block("low on memory")
		if err := r.publish(t.Context(), 4, 4); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !r.publisher.Stats().Blocked {
			t.Fatal("the broker's notice was not noted")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := r.publish(ctx, 5, 5); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish says %v while the broker blocks", err)
		}
		r.broker.Unblock()
		r.deliver(5, 9)
		r.check(9)
		if s := r.publisher.Stats(); s.Sessions != 1 || s.Again != 0 || s.Blocked {
			t.Errorf("an hour of being blocked was taken for a failure: %+v", s)
		}
	})
}

func TestABlockedConnectionThatIsLostIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.declare()
		r.broker.Block("low on disk")
		if err := r.publish(t.Context(), 1, 1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.broker.Drop()
		r.broker.Unblock()
		r.deliver(2, 9)
		r.check(9)
	})
}

func TestADeletedQueueIsDeclaredByRefreshAndFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		declared := 0
		r := newRig(t, func(r *rig, c *rabbitmq.Config) {
			c.Refresh = func(ctx context.Context) (rabbitmq.Connection, string, string, error) {
				if declared++; declared < 3 {
					return rabbitmq.Connection{}, "", "", errors.New("platform is starting")
				}
				r.declare()
				return c.Connection, exchange, key, nil
			}
		})
		r.declare()
		r.deliver(1, 30)
		r.mu.Lock()
		clear(r.stored) // the queue's content goes with it
		clear(r.confirmed)
		r.mu.Unlock()
		r.broker.DeleteQueue(queue)
		r.deliver(31, 60)
		if got := r.inQueue(); len(got) != 30 || got[0] != body(31) || got[29] != body(60) {
			t.Errorf("the new queue holds %q", got)
		}
		if len(r.early) > 0 {
			t.Errorf("returned messages passed for confirmed: %q", r.early)
		}
		if declared != 3 {
			t.Errorf("registered %d times, want until it works", declared)
		}
	})
}

func TestAMissingExchangeIsDeclaredByRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig, c *rabbitmq.Config) {
			c.Refresh = func(ctx context.Context) (rabbitmq.Connection, string, string, error) {
				r.declare()
				return c.Connection, exchange, key, nil
			}
		})
		r.deliver(1, 30)
		r.check(30)
		if s := r.publisher.Stats(); s.Sessions != 2 {
			t.Errorf("the platform was not asked at once: %+v", s)
		}
	})
}

func TestRefusedAccessIsLoggedAndHealedByRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		asked := 0
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) {
			good := c.Connection
			c.Log = zap.New(core)
			c.Connection.Password = "an old one"
			c.Refresh = func(context.Context) (rabbitmq.Connection, string, string, error) {
				if asked++; asked < 3 {
					return c.Connection, exchange, key, nil
				}
				return good, exchange, key, nil
			}
		})
		r.declare()
		r.deliver(1, 30)
		r.check(30)
		if asked != 3 || r.dialled() != 4 {
			t.Errorf("Refresh was asked %d times in %d attempts, want 3 in 4", asked, r.dialled())
		}
		if warned := logs.FilterLevelExact(zap.WarnLevel).All(); len(warned) != 1 || !strings.Contains(fmt.Sprint(warned[0].ContextMap()), "not allowed") {
			t.Errorf("want one warning, for what is mended in a moment: %v", warned)
		}
		if errs := logs.FilterLevelExact(zap.ErrorLevel).Len(); errs > 0 {
			t.Errorf("%d errors for what is mended in a moment", errs)
		}
		for _, e := range logs.All() {
			if line := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(line, password) || strings.Contains(line, "an old one") {
				t.Errorf("a password is in the log: %s", line)
			}
		}
	})
}

func TestRefusalsArePutUpWithForSoLongAndAnUnreachableBrokerForEver(t *testing.T) {
	const limit = time.Minute
	for name, tt := range map[string]struct {
		limit  time.Duration
		refuse time.Duration // access
		away   time.Duration // before that
		ends   time.Duration // 0 for never
	}{
		"refused for good":                {limit: limit, refuse: 5 * time.Minute, ends: limit},
		"refused for good, without limit": {refuse: 3 * limit},
		"refused for a while":             {limit: limit, refuse: limit / 2},
		"away for long":                   {limit: limit, away: 10 * time.Minute},
		"away for long, then refused":     {limit: limit, away: 10 * time.Minute, refuse: 15 * time.Minute, ends: 10*time.Minute + limit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(_ *rig, c *rabbitmq.Config) {
					c.RefusedFor = tt.limit
					c.Refresh = func(context.Context) (rabbitmq.Connection, string, string, error) {
						return c.Connection, exchange, key, nil
					}
				})
				r.declare()
				started := time.Now()
				refuse(t, r, tt.away > 0)
				time.AfterFunc(tt.away, func() { refuse(t, r, false) })
				r.broker.RefuseAuth(tt.refuse > 0)
				time.AfterFunc(tt.refuse, func() { r.broker.RefuseAuth(false) })
				err := r.publisher.Publish(t.Context(), []byte("x"), nil, nil)
				took := time.Since(started)
				if tt.ends == 0 {
					if err != nil {
						t.Errorf("it gave up after %s: %v", took, err)
					}
					return
				}
				// An attempt to connect may come late, but never a refusal after the limit.
				permanent := (*rabbitmq.PermanentError)(nil)
				if !errors.As(err, &permanent) || !strings.Contains(err.Error(), "MQ_PASS") || took > tt.ends+time.Minute/2 || took < tt.ends {
					t.Errorf("%v after %s", err, took)
				}
			})
		})
	}
}

func TestOnlyRefusalsInARowCount(t *testing.T) {
	const limit = time.Minute
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) { c.RefusedFor, c.Log = limit, zap.New(core) })
		r.declare()
		r.broker.RefuseAuth(true)
		time.AfterFunc(limit/6, func() { refuse(t, r, true) })
		time.AfterFunc(5*limit, func() { refuse(t, r, false) })
		time.AfterFunc(5*limit+limit/2, func() { r.broker.RefuseAuth(false) })
		if err := r.publisher.Publish(t.Context(), []byte("x"), nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := r.publisher.Flush(t.Context(), nil); err != nil {
			t.Errorf("it gave up: %v", err)
		}
		if said := logs.FilterMessageSnippet("MQ_PASS").Len(); said != 1 {
			t.Errorf("said %d times that access is refused", said)
		}
	})
}

func TestABrokerThatMovedIsFoundByRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig, c *rabbitmq.Config) {
			c.Refresh = func(context.Context) (rabbitmq.Connection, string, string, error) {
				if err := r.broker.Refuse(false); err != nil {
					t.Error(err)
				}
				return c.Connection, exchange, key, nil
			}
		})
		r.declare()
		refuse(t, r, true)
		r.deliver(1, 3)
		if s := r.publisher.Stats(); s.Refreshes != 1 || r.dialled() != 4 {
			t.Errorf("want one Refresh after three attempts: %+v, %d dials", s, r.dialled())
		}
	})
}

func TestARefreshThatSaysItIsForGoodEndsThePublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) {
			c.Refresh = func(context.Context) (rabbitmq.Connection, string, string, error) {
				return rabbitmq.Connection{}, "", "", fmt.Errorf("register connector: %w",
					&rabbitmq.PermanentError{Problem: "the connector was deleted from the platform"})
			}
		})
		if err := r.publish(t.Context(), 1, 1); err == nil { // the exchange is missing
			err = r.publisher.Flush(t.Context(), nil)
			var permanent *rabbitmq.PermanentError
			if !errors.As(err, &permanent) {
				t.Errorf("Flush says %v", err)
			}
		}
		if len(r.confirmed) != 0 {
			t.Errorf("confirmed: %v", r.confirmed)
		}
	})
}

func TestAFullQueueIsWaitedForUntilItDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(_ *rig, c *rabbitmq.Config) { c.Backoff = remote.Backoff{}; c.Window = 20 })
		r.declare()
		r.broker.LimitQueue(queue, 30)
		done := make(chan error, 1)
		go func() {
			err := r.publish(t.Context(), 1, 100)
			if err == nil {
				err = r.publisher.Flush(t.Context(), nil)
			}
			done <- err
		}()
		time.Sleep(10 * time.Minute)
		if got := len(r.inQueue()); got != 30 {
			t.Errorf("the queue holds %d of 30", got)
		}
		if s := r.publisher.Stats(); s.Nacked > 70 || s.Sessions != 1 {
			t.Errorf("a full queue is hammered: %+v", s)
		}
		for range 100 {
			time.Sleep(time.Minute)
			r.broker.Take(queue, 7)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.check(100)
	})
}

func TestASmallMessageThatTheBrokerNeverTakesIsFoundAndEndsThePublisher(t *testing.T) {
	const before, bad = 49, 50
	synctest.Test(t, func(t *testing.T) {
		// The broker closes the channel at the message that follows number 49, whenever it comes.
		r := newRig(t, func(r *rig, c *rabbitmq.Config) {
			next := func() { r.broker.FaultAt(r.broker.Published()+1, rabbitmqtest.CloseChannel) }
			r.onStored = func(b string) {
				if b == body(before) {
					next()
				}
			}
			dial := c.Dial
			c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				r.mu.Lock()
				first := r.confirmed[body(before)] > 0
				r.mu.Unlock()
				if first {
					next()
				}
				return dial(ctx, network, addr)
			}
			c.Window = 100
		})
		r.declare()
		err := r.publish(t.Context(), 1, 60)
		if err == nil {
			err = r.publisher.Flush(t.Context(), nil)
		}
		var permanent *rabbitmq.PermanentError
		if !errors.As(err, &permanent) || !strings.Contains(err.Error(), "does not say that it is too large") ||
			!strings.Contains(err.Error(), fmt.Sprintf("of %d bytes", len(body(bad)))) {
			t.Fatalf("the error does not say what to do: %v", err)
		}
		if err := r.publish(t.Context(), 61, 61); !errors.As(err, &permanent) {
			t.Errorf("Publish goes on after it: %v", err)
		}
		for n := 1; n < bad; n++ {
			if r.confirmed[body(n)] != 1 {
				t.Errorf("message %d went before the bad one and was confirmed %d times", n, r.confirmed[body(n)])
			}
		}
		if len(r.early) > 0 || r.confirmed[body(bad)] > 0 {
			t.Errorf("confirmed without being stored: %q", r.early)
		}
		if s := r.publisher.Stats(); s.Sessions > 6 {
			t.Errorf("finding it took %d sessions", s.Sessions)
		}
	})
}
