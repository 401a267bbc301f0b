package main

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestTheFirstSignalEndsTheRunAndTheSecondTheProgram(t *testing.T) {
	for _, tt := range []struct {
		signal syscall.Signal
		status int
	}{{syscall.SIGTERM, 143}, {syscall.SIGINT, 130}} {
		exited := make(chan int, 1)
		ctx, stop := untilSignal(context.Background(), func(status int) { exited <- status })
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
	ctx, stop := untilSignal(context.Background(), func(int) { t.Error("exited") })
	if ctx.Err() != nil {
		t.Error("ended by itself")
	}
	stop()
	if ctx.Err() == nil {
		t.Error("stop does not release the context")
	}
}
