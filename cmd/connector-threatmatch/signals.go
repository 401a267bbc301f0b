package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// errSignal is the cause of a context that a signal has ended.
type errSignal struct{ signal os.Signal }

func (e errSignal) Error() string { return fmt.Sprintf("stopped by signal: %v", e.signal) }

// untilSignal returns a context that the first SIGINT or SIGTERM ends, with the signal as its cause, so that the run
// can settle what is under way, within the grace of package pipeline. The second one calls exit with 128 and the signal's
// number: 130 or 143. stop ends the watch and waits for it.
func untilSignal(parent context.Context, exit func(int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for second := false; ; second = true {
			select {
			case <-quit:
				return
			case s := <-signals:
				if second {
					exit(exitStatus(s))
					return
				}
				cancel(errSignal{s})
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(quit)
		<-done
		cancel(nil)
	}
}

func exitStatus(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return exitRunFailed
}
