package remote

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheDelayDoublesUpToItsLimit(t *testing.T) {
	whole := func() float64 { return 0 }
	for _, tt := range []struct {
		min, max time.Duration
		failures int
		want     time.Duration
	}{
		{200 * time.Millisecond, 30 * time.Second, 0, 200 * time.Millisecond},
		{200 * time.Millisecond, 30 * time.Second, 1, 400 * time.Millisecond},
		{200 * time.Millisecond, 30 * time.Second, 7, 25600 * time.Millisecond},
		{200 * time.Millisecond, 30 * time.Second, 8, 30 * time.Second},
		{200 * time.Millisecond, 30 * time.Second, math.MaxInt, 30 * time.Second},
		{200 * time.Millisecond, 30 * time.Second, -1, 200 * time.Millisecond},
		{time.Second, math.MaxInt64, 32, 1 << 32 * time.Second},
		{time.Second, math.MaxInt64, 34, math.MaxInt64}, // twice as long as before has no room in a Duration
		{time.Minute, time.Second, 3, time.Second},
		{0, time.Second, math.MaxInt, 0},
	} {
		if got := (Backoff{Min: tt.min, Max: tt.max, Jitter: whole}).Delay(tt.failures); got != tt.want {
			t.Errorf("%s to %s after %d failures: %s, want %s", tt.min, tt.max, tt.failures, got, tt.want)
		}
	}
}

func TestJitterTakesOffUpToHalf(t *testing.T) {
	b := Backoff{Min: time.Second, Max: time.Minute, Jitter: func() float64 { return 0.5 }}
	if got := b.Delay(3); got != 6*time.Second {
		t.Errorf("got %s, want a quarter less than 8s", got)
	}
	b.Jitter = nil
	for failures := range 100 {
		if got := b.Delay(failures); got <= min(b.Min<<min(failures, 6), b.Max)/2 || got > b.Max {
			t.Fatalf("after %d failures: %s", failures, got)
		}
	}
}

func TestAWaitEndsWithItsTimeOrItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := Wait(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		reason := errors.New("stopped")
		ctx, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { stop(reason) })
		began = time.Now()
		if err := Wait(ctx, time.Hour); !errors.Is(err, reason) || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
