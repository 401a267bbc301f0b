package state

import (
	"context"
	"errors"
	"time"
)

// Platform stores the state. Where more is known of a failure than that it happened, its errors wrap a [*CallError].
type Platform interface {
	// Ping sends the state and returns what the platform answers to hold.
	Ping(ctx context.Context, state string) (Held, error)
	// ConnectorState tells what the platform holds without touching it.
	ConnectorState(ctx context.Context) (Held, error)
	// Register makes a connector known again that was deleted from the platform.
	Register(ctx context.Context) (Held, error)
}

// Held is what the platform holds of a connector.
type Held struct {
	// State is empty when there is none, or after a reset.
	State string
	// Stamp is when the connector was created or last reset, zero when the platform does not say.
	Stamp time.Time
}

// CallError tells what follows from a call that failed.
type CallError struct {
	Err error
	// Gone says that the platform does not know the connector any more.
	Gone bool
	// Temporary says that the same call can succeed later.
	Temporary bool
	// Unsent says that the platform has surely not seen the call.
	Unsent bool
	// Refused says that the connector's user lacks the right.
	Refused bool
}

func (e *CallError) Error() string { return e.Err.Error() }

// Unwrap returns the failure itself.
func (e *CallError) Unwrap() error { return e.Err }

// consequences is what is known of a failure.
func consequences(err error) CallError {
	if e := (*CallError)(nil); errors.As(err, &e) {
		return *e
	}
	return CallError{Err: err}
}
