package rabbitmq

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"
)

// This file is about the broker's max_message_size. RabbitMQ closes the channel over a message that is larger, with 406 and the
// two sizes, and says not which message it was; what was in flight behind it is lost with the channel. Where the sizes are
// named, all that are held and larger than the limit are given back at once. A broker that names none is sent one message at a
// time until the one is known.

// TooLargeError says that the broker takes no message of such a size.
type TooLargeError struct {
	// Bytes is the size of the message, and Limit what the broker takes at most, or, where it did not name its limit, one byte less
	// than it has refused.
	Bytes, Limit int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the message has %d bytes, and the broker takes %d at most", e.Bytes, e.Limit)
}

// MostBytes is the size of the largest message that the broker takes.
func (e *TooLargeError) MostBytes() int { return e.Limit }

// learntError ends a session that has found the broker's limit, or a lower one: what is larger was given back, and the next
// session begins at once.
type learntError struct{ cause error }

func (e *learntError) Error() string {
	return fmt.Sprintf("the broker closed the channel over a large message: %v", e.cause)
}

func (e *learntError) Unwrap() error { return e.cause }

// namedSizes is how RabbitMQ tells of it, since release 3.8; "configured" is not there where nobody has configured anything.
var namedSizes = regexp.MustCompile(`message size (\d+) is larger than (?:configured )?max size (\d+)`)

// sizesIn reads the size of the refused message and the limit out of what the broker said.
func sizesIn(err error) (size, limit int, ok bool) {
	var e *amqp.Error
	if !errors.As(err, &e) {
		return 0, 0, false
	}
	m := namedSizes.FindStringSubmatch(e.Reason)
	if m == nil {
		return 0, 0, false
	}
	size, errSize := strconv.Atoi(m[1])
	limit, errLimit := strconv.Atoi(m[2])
	return size, limit, errSize == nil && errLimit == nil && 0 < limit && limit < size
}

// refusal is why a body of n bytes is not even tried, nil where it is. The caller holds the lock.
func (b *outbox) refusal(n int) *TooLargeError {
	if b.limit == 0 || n <= b.limit {
		return nil
	}
	return &TooLargeError{Bytes: n, Limit: b.limit}
}

// learn finds out over which message the broker closed the channel, under the lock, and says how the session ended.
func (s *session) learn(err error) error {
	size, limit, named := sizesIn(err)
	if !named || !s.box.window.has(size) || s.box.limit > 0 && limit >= s.box.limit {
		return s.suspect(err)
	}
	return s.lower(limit, err)
}

// lower notes a limit that is lower than any known before.
func (s *session) lower(limit int, err error) error {
	s.box.limit = limit
	s.box.cfg.Log.Warn("RabbitMQ takes smaller messages only than the connector makes: what needs a larger one is left out, the rest goes on; "+
		"raise its max_message_size, or set CONNECTOR_MAX_MESSAGE_BYTES to what it takes",
		zap.Int("takes_bytes", limit), zap.Stringer("broker", s.to), zap.Error(err))
	return &learntError{err}
}

// refusalsBeforeGivingUp is how often the broker may close the channel over one and the same message without a word on its size.
const refusalsBeforeGivingUp = 3

// leastLimit is a size that no operator would set the limit below: over a smaller message the channel was closed for another
// reason.
const leastLimit = 64 << 10

// suspect looks for the message over which a broker closed the channel that does not name its size. When only one was in
// flight it is that one; otherwise all that are held go out one at a time from now on. It is for its size where it is large, and
// larger than all that the broker has taken; of any other reason nobody knows whether the next message fares better.
func (s *session) suspect(err error) error {
	box := s.box
	if box.paced.inFlight != 1 {
		box.paced.careful = box.window.lastSeq
		return err
	}
	m := box.window.first
	for m != nil && m.status != sent {
		m = m.next
	}
	if m == nil {
		return err
	}
	m.refusals++
	switch size := len(m.body); {
	case m.refusals < refusalsBeforeGivingUp:
		return err
	case size >= leastLimit && size > box.taken:
		return s.lower(size-1, err)
	default:
		return &PermanentError{Problem: fmt.Sprintf("the broker closes the channel over a message of %d bytes, and does not say that it is "+
			"too large; look at its log, and at the extensions that it runs", size), Err: err}
	}
}

// turnAway gives back what is held and larger than the broker's limit. It is the owner's, who alone takes messages out.
func (b *outbox) turnAway() {
	b.mu.Lock()
	var refused []*message
	for m := b.window.first; m != nil; m = m.next {
		if b.refusal(len(m.body)) != nil {
			refused = append(refused, m)
		}
	}
	limit := b.limit
	b.mu.Unlock()
	for _, m := range refused {
		m.settle(&TooLargeError{Bytes: len(m.body), Limit: limit})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range refused {
		b.window.remove(m)
	}
	b.stats.TooLarge += uint64(len(refused))
	b.wake()
}
