package emit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Works is what the platform knows of a run: its work. Its errors are those of [opencti.Client].
type Works interface {
	AddWork(ctx context.Context, friendlyName string) (id string, err error)
	AddExpectations(ctx context.Context, workID string, n int) error
	// Expectations is the number of messages that the work expects.
	Expectations(ctx context.Context, workID string) (int, error)
	CloseWork(ctx context.Context, workID, message string, inError bool) error
	// Processed reports whether the work is closed.
	Processed(ctx context.Context, workID string) (bool, error)
}

// Books keep the work of one run: opened with the first batch, told before each how many messages to expect, closed
// once. They are used from one goroutine at a time.
type Books struct {
	works    Works
	name     string
	log      *zap.Logger
	workID   string
	expected int
	closed   bool
}

// NewBooks returns books for a work that is not opened yet.
func NewBooks(works Works, friendlyName string, log *zap.Logger) *Books {
	return &Books{works: works, name: friendlyName, log: log}
}

// Work returns the work's id, "" when none was opened.
func (b *Books) Work() string { return b.workID }

// Expected returns how many messages the work was told to expect.
func (b *Books) Expected() int { return b.expected }

// Expect opens the work if need be and tells it to expect n more messages. It waits for a platform that is away until
// ctx ends. The error wraps [ErrWorkGone] when the work was deleted.
func (b *Books) Expect(ctx context.Context, n int) error {
	if b.workID == "" {
		if err := b.open(ctx); err != nil {
			return err
		}
	}
	inDoubt := false // a request may have counted: not repeated before the platform has said that it has not
	return b.insist(ctx, "add expectations to the work", func() error {
		counted := false
		if inDoubt {
			expected, err := b.works.Expectations(ctx, b.workID)
			if err != nil {
				return err
			}
			counted = expected >= b.expected+n // these books alone add to the work
		}
		if !counted {
			if err := b.works.AddExpectations(ctx, b.workID, n); err != nil {
				inDoubt = inDoubt || ambiguous(err)
				return err
			}
		}
		b.expected += n
		return nil
	})
}

// open adds the work. A work whose answer was lost cannot be found again, so a second one is opened then: the first
// stays empty, which OpenCTI shows and cleans up in its own time.
func (b *Books) open(ctx context.Context) error {
	return b.insist(ctx, "open a work", func() error {
		id, err := b.works.AddWork(ctx, b.name)
		if err == nil && id == "" {
			err = errors.New("the platform answered without an id")
		}
		if err != nil && ambiguous(err) {
			b.log.Warn("the answer to opening a work was lost; an empty work may stay behind in OpenCTI", zap.Error(err))
		}
		b.workID = id
		return err
	})
}

// ambiguous says that the platform may have done what was asked although the answer is a failure.
func ambiguous(err error) bool {
	return opencti.IsTemporary(err) && !opencti.IsUnsent(err)
}

// insist repeats what fails for a while, with growing pauses, until it succeeds, fails for good or ctx ends.
func (b *Books) insist(ctx context.Context, what string, do func() error) error {
	backoff := remote.Backoff{Min: 250 * time.Millisecond, Max: 15 * time.Second}
	for failures := 0; ; failures++ {
		err := do()
		switch {
		case err == nil:
			if failures > 0 {
				b.log.Info("the platform answers again", zap.String("request", what))
			}
			return nil
		case errors.Is(err, opencti.ErrWorkNotAlive):
			return fmt.Errorf("%s: %w", what, errors.Join(ErrWorkGone, err))
		case ctx.Err() == nil && !opencti.IsTemporary(err):
			return fmt.Errorf("%s: %w", what, err)
		case ctx.Err() == nil && failures == 0:
			b.log.Warn("the platform does not answer as it should; trying again", zap.String("request", what), zap.Error(err))
		}
		if ended := remote.Wait(ctx, backoff.Delay(failures)); ended != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(ended, err))
		}
	}
}

// Check returns an error that wraps [ErrWorkGone] when the work that was opened does not exist any more.
func (b *Books) Check(ctx context.Context) error {
	if b.workID == "" {
		return nil
	}
	return b.insist(ctx, "look for the work", func() error {
		_, err := b.works.Expectations(ctx, b.workID)
		return err
	})
}

// Close closes the work, if one was opened and not closed before.
func (b *Books) Close(ctx context.Context, message string, inError bool) error {
	if b.workID == "" || b.closed {
		return nil
	}
	b.closed = true
	inDoubt := false // a request may have been heard: not repeated before the platform has said that it has not
	return b.insist(ctx, "close the work", func() error {
		if inDoubt {
			if done, err := b.works.Processed(ctx, b.workID); err != nil || done {
				return err
			}
		}
		err := b.works.CloseWork(ctx, b.workID, message, inError)
		inDoubt = inDoubt || (err != nil && ambiguous(err))
		return err
	})
}
