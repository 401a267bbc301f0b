package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// errSignal is the cause of a context that a signal has ended.
type errSignal struct{ signal os.Signal }

func (e errSignal) Error() string { return fmt.Sprintf("stopped by signal: %v", e.signal) }

// sameSignal is how long after the first signal another one is the same: `timeout` signals the process and its group, and
// shells and supervisors have ways like that. Nobody changes their mind that soon.
const sameSignal = time.Second

// untilSignal returns a context that the first SIGINT or SIGTERM ends, with the signal as its cause, so that the run
// can settle what is under way, within the grace of package pipeline. One that comes no sooner than same after the first
// calls exit with 128 and the signal's number: 130 or 143. stop ends the watch and waits for it.
func untilSignal(parent context.Context, same time.Duration, exit func(int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		heedSignals(signals, quit, same, cancel, exit)
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(quit)
		<-done
		cancel(nil)
	}
}

// heedSignals calls cancel for the first signal and exit for the first that comes no sooner than same after it.
func heedSignals(signals <-chan os.Signal, quit <-chan struct{}, same time.Duration, cancel context.CancelCauseFunc, exit func(int)) {
	var first time.Time
	for {
		select {
		case <-quit:
			return
		case s := <-signals:
			switch {
			case first.IsZero():
				first = time.Now()
				cancel(errSignal{s})
			case time.Since(first) >= same:
				exit(exitStatus(s))
				return
			}
		}
	}
}

func exitStatus(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return exitRunFailed
}
