package rabbitmq

import (
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// ErrClosed is returned by a Publisher that was closed.
var ErrClosed = errors.New("publisher is closed")

// errConfirmTimeout ends a session whose oldest message waits too long for its confirm.
var errConfirmTimeout = errors.New("no confirm from the broker within the time allowed")

// errReturned ends a session in which the broker gave messages back.
var errReturned = errors.New("the broker returned messages: no queue is bound to the exchange for the routing key")

// PermanentError says that trying again cannot help. The Publisher has given up: what it holds stays unconfirmed, and a
// new one is needed once an operator has seen to the cause.
type PermanentError struct {
	// Problem says what is wrong and what an operator can do.
	Problem string
	// Err is the cause, possibly nil.
	Err error
}

func (e *PermanentError) Error() string {
	if e.Err == nil {
		return e.Problem
	}
	return fmt.Sprintf("%s: %v", e.Problem, e.Err)
}

func (e *PermanentError) Unwrap() error { return e.Err }

// refusedPublish says whether the broker closed the channel over a message itself, which happens when it is larger than
// the broker's max_message_size; see limit.go.
func refusedPublish(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Server && (e.Code == amqp.PreconditionFailed || e.Code == amqp.ContentTooLarge)
}

// refusedAccess says whether the broker knows us and says no: to the user, the vhost, or a right.
func refusedAccess(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && (e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed)
}

// missing says whether the broker has no such exchange.
func missing(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Server && e.Code == amqp.NotFound
}
