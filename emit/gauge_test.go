package emit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// drain is a queue that workers empty at a steady pace and whose size is told late, as a broker's statistics are.
type drain struct {
	mu      sync.Mutex
	pace    int64 // bytes a second
	bytes   int64
	at      time.Time
	largest int64
	told    int64
	asked   int
	fail    func() error // before each answer
}

func (d *drain) settle() {
	now := time.Now()
	d.bytes = max(0, d.bytes-int64(now.Sub(d.at).Seconds()*float64(d.pace)))
	d.at = now
}

func (d *drain) publish(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle()
	d.bytes += bytes
	d.largest = max(d.largest, d.bytes)
}

// hire lets workers come.
func (d *drain) hire(pace int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle()
	d.pace = pace
}

// QueueSize tells the size as it was up to five seconds ago.
func (d *drain) QueueSize(context.Context) (int64, int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.fail != nil {
		if err := d.fail(); err != nil {
			return 0, 0, err
		}
	}
	return 0, d.told, nil
}

// tell collects the figure every five seconds, until ctx ends.
func (d *drain) tell(ctx context.Context) {
	for {
		select {
		case <-time.After(5 * time.Second):
			d.mu.Lock()
			d.settle()
			d.told = d.bytes
			d.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

func TestTheQueueStaysNearItsThresholdAlthoughItsFigureLags(t *testing.T) {
	for name, pace := range map[string]int64{"no workers for a while": 0, "slow workers": 20_000, "faster than they are fed": 50_000_000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				threshold, batch := int64(1_000_000), int64(50_000)
				if pace == 50_000_000 {
					threshold = 40_000_000 // what is published in the time that the figure lags is counted in full
				}
				d := &drain{pace: pace, at: time.Now()}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go d.tell(ctx)
				reports := []bool{}
				g := NewGauge(d, threshold, func(buffering bool, _ int64) {
					if len(reports) == 0 || reports[len(reports)-1] != buffering {
						reports = append(reports, buffering)
					}
				}, zap.NewNop())
				if pace == 0 {
					time.AfterFunc(10*time.Minute, func() { d.hire(100_000) })
				}
				started := time.Now()
				const batches = 400
				for range batches {
					if err := g.Wait(ctx, batch, func() {}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(10 * time.Millisecond) // what publishing takes
					d.publish(batch)
				}
				took := time.Since(started)
				if d.largest > threshold*12/10 {
					t.Errorf("the queue grew to %d bytes", d.largest)
				}
				waited := len(reports) > 1 && reports[1]
				if pace == 50_000_000 {
					if waited || took > 10*time.Second {
						t.Errorf("waited for an empty queue: %v, %s", reports, took)
					}
					return
				}
				if !waited || reports[len(reports)-1] {
					t.Errorf("reported buffering as %v", reports)
				}
				if d.asked > int(took/time.Second)+batches {
					t.Errorf("asked %d times in %s", d.asked, took)
				}
				// Waiting must not cost much more than the workers' time.
				if ideal := time.Duration(float64(batch)*batches/float64(max(d.pace, 1))) * time.Second; took > 2*ideal+11*time.Minute {
					t.Errorf("took %s, where the workers need %s", took, ideal)
				}
			})
		})
	}
}

func TestWaitingForTheQueueEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGauge(&drain{told: 10}, 10, func(bool, int64) {}, zap.NewNop())
		cause := errors.New("told to stop")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, cause)
		defer cancel()
		started := time.Now()
		if err := g.Wait(ctx, 1, func() {}); !errors.Is(err, cause) || time.Since(started) != time.Hour {
			t.Errorf("%v after %s", err, time.Since(started))
		}
	})
}

func TestAPlatformThatDoesNotTellTheSizeDoesNotStopDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.WarnLevel)
		d := &drain{at: time.Now(), fail: func() error { return errors.New("no right to see it") }}
		g := NewGauge(d, 1000, func(bool, int64) {}, zap.New(core))
		started := time.Now()
		for range 100 {
			if err := g.Wait(t.Context(), 900, func() {}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(started); took > 5*time.Minute {
			t.Errorf("a hundred batches took %s", took)
		}
		if logs.Len() != 1 {
			t.Errorf("said so %d times", logs.Len())
		}
	})
}

func TestAFullQueueIsWaitedForThroughAShortFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		d := &drain{told: 2000, at: time.Now()}
		d.fail = func() error {
			if calls++; calls > 1 && calls < 20 {
				return errors.New("bad gateway")
			}
			if calls == 25 {
				d.told = 0
			}
			return nil
		}
		g := NewGauge(d, 1000, func(bool, int64) {}, zap.NewNop())
		if err := g.Wait(t.Context(), 100, func() {}); err != nil {
			t.Fatal(err)
		}
		if calls < 25 {
			t.Errorf("went on after %d questions, before the queue had drained", calls)
		}
	})
}

func TestWithoutAThresholdNothingIsHeldBackAndTheWorkIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &drain{told: 1 << 50, at: time.Now()}
		g := NewGauge(d, 0, func(buffering bool, _ int64) {
			if buffering {
				t.Error("delivery waits")
			}
		}, zap.NewNop())
		started := time.Now()
		for range 1000 {
			if err := g.Wait(t.Context(), 1<<40, func() {}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if most := int(time.Since(started)/lookAgain) + 1; d.asked < most-1 || d.asked > most {
			t.Errorf("asked %d times in %s", d.asked, time.Since(started))
		}
	})
}

func TestARunThatIsVoidDoesNotWaitForTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &drain{told: 1 << 50, at: time.Now()}
		g := NewGauge(d, 10, func(bool, int64) {}, zap.NewNop())
		started := time.Now()
		d.fail = func() error {
			if time.Since(started) < time.Minute {
				return nil
			}
			return fmt.Errorf("look for the work: %w", ErrWorkGone)
		}
		if err := g.Wait(t.Context(), 1, func() {}); !errors.Is(err, ErrWorkGone) || time.Since(started) > time.Minute+askAgain {
			t.Errorf("Wait() = %v after %s", err, time.Since(started))
		}
	})
}

func TestAQueueThatIsFullAgainAndAgainIsToldOfNowAndThen(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	g := NewGauge(nil, 1, func(bool, int64) {}, zap.New(core))
	now := time.Unix(0, 0)
	g.now = func() time.Time { return now }
	for range 360 { // an hour of it, five seconds full and five not
		g.hold(true)
		now = now.Add(5 * time.Second)
		g.hold(false)
		now = now.Add(5 * time.Second)
	}
	full, drained := logs.FilterMessageSnippet("is full").Len(), logs.FilterMessageSnippet("has drained").Len()
	if full != 6 || drained != 6 {
		t.Errorf("in an hour it was said %d times that it is full, and %d times that it has drained", full, drained)
	}
}
