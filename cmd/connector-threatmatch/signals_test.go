package main

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheFirstSignalEndsTheRunAndTheSecondTheProgram(t *testing.T) {
	for _, tt := range []struct {
		signal syscall.Signal
		status int
	}{{syscall.SIGTERM, 143}, {syscall.SIGINT, 130}} {
		exited := make(chan int, 1)
		ctx, stop := untilSignal(context.Background(), 0, func(status int) { exited <- status })
		self := func() {
			if err := syscall.Kill(os.Getpid(), tt.signal); err != nil {
				t.Fatal(err)
			}
		}
		limit := time.After(hang)
		self()
		select {
		case <-ctx.Done():
		case <-limit:
			t.Fatal("the first signal did nothing")
		}
		var cause errSignal
		if !errors.As(context.Cause(ctx), &cause) || cause.signal != tt.signal {
			t.Errorf("the cause is %v", context.Cause(ctx))
		}
		self()
		select {
		case status := <-exited:
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
		case <-limit:
			t.Fatal("the second signal did nothing")
		}
		stop()
	}
}

func TestWithoutASignalNothingEnds(t *testing.T) {
	ctx, stop := untilSignal(context.Background(), 0, func(int) { t.Error("exited") })
	if ctx.Err() != nil {
		t.Error("ended by itself")
	}
	stop()
	if ctx.Err() == nil {
		t.Error("stop does not release the context")
	}
}

// TestASignalThatComesTwiceAtOnceIsOne is about `timeout`, which signals the process and then its group.
func TestASignalThatComesTwiceAtOnceIsOne(t *testing.T) {
	for _, tt := range []struct {
		after []time.Duration // the first signal
		want  int             // exit status, 0 for none
	}{
		{[]time.Duration{0}, 0},
		{[]time.Duration{sameSignal - 1}, 0},
		{[]time.Duration{0, sameSignal / 2, sameSignal - 1}, 0},
		{[]time.Duration{sameSignal}, 143},
		{[]time.Duration{0, sameSignal - 1, sameSignal}, 143},
		{[]time.Duration{0, time.Hour}, 143},
	} {
		synctest.Test(t, func(t *testing.T) {
			signals, quit := make(chan os.Signal), make(chan struct{})
			ctx, cancel := context.WithCancelCause(context.Background())
			exited := 0
			go heedSignals(signals, quit, sameSignal, cancel, func(status int) { exited = status })
			signals <- syscall.SIGINT
			synctest.Wait()
			if ctx.Err() == nil {
				t.Error("the first signal did nothing")
			}
			first := time.Now()
			for _, after := range tt.after {
				time.Sleep(after - time.Since(first)) // in the bubble's time
				signals <- syscall.SIGTERM
			}
			synctest.Wait()
			if exited != tt.want {
				t.Errorf("signals after %v end the program with %d, want %d", tt.after, exited, tt.want)
			}
			close(quit)
		})
	}
}
