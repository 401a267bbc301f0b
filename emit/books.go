package emit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// ErrWorkGone says that an operator deleted the work of the run: workers drop its messages, so nothing of it counts.
var ErrWorkGone = fmt.Errorf("the work was deleted in OpenCTI: %w", pipeline.ErrAbandon)

// Works is what the platform knows of a run: its work. Its errors are those of [opencti.Client].
type Works interface {
	AddWork(ctx context.Context, friendlyName string) (id string, err error)
	AddExpectations(ctx context.Context, workID string, n int) error
	// Expectations is the number of messages that the work expects.
	Expectations(ctx context.Context, workID string) (int, error)
	// ReportLeftOut says that a message that the work expects does not come, and names what is missing if what is not empty.
	ReportLeftOut(ctx context.Context, workID, what string) error
	CloseWork(ctx context.Context, workID, message string, inError bool) error
	// Processed reports whether the work is closed.
	Processed(ctx context.Context, workID string) (bool, error)
	// Watch tells whether the work is still there, and how much lies in the connector's queue; with no work the latter only.
	Watch(ctx context.Context, workID string) (opencti.Watched, error)
}

// Journal remembers the work of a run beyond the process.
type Journal interface {
	// Opened notes a work for good, before any message refers to it. An error that wraps [pipeline.ErrAbandon] says that the
	// run is void.
	Opened(ctx context.Context, workID string) error
	// Gone notes that the work was deleted, so that nothing of the run counts. It does not wait.
	Gone()
}

// Books keep the work of one run: opened with the first batch, told before each how many messages to expect, closed
// once. Nothing but [Books.Check], [Books.QueueSize] and [Books.Work] may be called side by side.
type Books struct {
	works    Works
	journal  Journal
	name     string
	log      *zap.Logger
	expected int
	closed   bool

	mu     sync.Mutex // guards all below
	workID string
	gone   error // why the run is void; nil while it is not
}

// NewBooks returns books for a work that is not opened yet.
func NewBooks(works Works, friendlyName string, log *zap.Logger) *Books {
	return &Books{works: works, journal: noJournal{}, name: friendlyName, log: log}
}

// RememberIn has a journal told of the work, before anything else is done with the books.
func (b *Books) RememberIn(j Journal) { b.journal = j }

// noJournal forgets with the process.
type noJournal struct{}

// Opened does nothing.
func (noJournal) Opened(context.Context, string) error { return nil }

// Gone does nothing.
func (noJournal) Gone() {}

// Work returns the work's id, "" when none was opened.
func (b *Books) Work() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.workID
}

// Expected returns how many messages the work was told to expect.
func (b *Books) Expected() int { return b.expected }

// Expect opens the work if need be and tells it to expect n more messages. It waits for a platform that is away until
// ctx ends. The error wraps [ErrWorkGone] when the work was found to be deleted; the platform does not say so by itself.
func (b *Books) Expect(ctx context.Context, n int) error {
	if err := b.Open(ctx); err != nil {
		return err
	}
	workID := b.Work()
	inDoubt := false // a request may have counted: not repeated before the platform has said that it has not
	return b.insist(ctx, "add expectations to the work", func() error {
		counted := false
		if inDoubt {
			expected, err := b.works.Expectations(ctx, workID)
			if err != nil {
				return err
			}
			// These books alone add to the work, unless OpenCTI counts what it splits: then only what List tells of is added here,
			// and one expectation too few lets the work be complete early.
			counted = expected >= b.expected+n
		}
		if !counted {
			if err := b.works.AddExpectations(ctx, workID, n); err != nil {
				inDoubt = inDoubt || ambiguous(err)
				return err
			}
		}
		b.expected += n
		return nil
	})
}

// Open opens the work if need be.
func (b *Books) Open(ctx context.Context) error {
	if b.Work() != "" {
		return nil
	}
	return b.add(ctx)
}

// LeaveOut tells the work that a message that it expects does not come; what names the object among the errors of the work, if it
// is not empty. Where an answer is lost it is told again, for a work that is complete a message too early is better than one that
// never is. Where the platform refuses to be told, that is logged, and the work is never complete. The error wraps [ErrWorkGone],
// or ctx has ended.
func (b *Books) LeaveOut(ctx context.Context, what string) error {
	_, err := b.reportLeftOut(ctx, what)
	return err
}

// List names an object among the errors of the work, of which the work expects no message.
func (b *Books) List(ctx context.Context, what string) error {
	if told, err := b.reportLeftOut(ctx, what); err != nil || !told {
		return err
	}
	return b.Expect(ctx, 1) // what was told counts as processed
}

func (b *Books) reportLeftOut(ctx context.Context, what string) (told bool, err error) {
	err = b.insist(ctx, "tell the work of what was left out", func() error { return b.works.ReportLeftOut(ctx, b.Work(), what) })
	if err == nil || errors.Is(err, ErrWorkGone) || ctx.Err() != nil {
		return err == nil, err
	}
	b.log.Warn("OpenCTI refuses to be told what was left out", zap.String("left_out", what), zap.Error(err))
	return false, nil
}

// add adds the work and has it remembered. A work whose answer was lost cannot be found again, so a second one is opened
// then: the first stays empty, which OpenCTI shows and cleans up in its own time.
func (b *Books) add(ctx context.Context) error {
	id := ""
	if err := b.insist(ctx, "open a work", func() (err error) {
		id, err = b.works.AddWork(ctx, b.name)
		if err == nil && id == "" {
			err = errors.New("the platform answered without an id")
		}
		if err != nil && ambiguous(err) {
			b.log.Warn("the answer to opening a work was lost; an empty work may stay behind in OpenCTI", zap.Error(err))
		}
		return err
	}); err != nil {
		return err
	}
	b.mu.Lock()
	b.workID = id // also of a work that cannot be remembered: it has to be closed
	b.mu.Unlock()
	if err := b.journal.Opened(ctx, id); err != nil {
		return fmt.Errorf("remember the work: %w", err)
	}
	return nil
}

// ambiguous says that the platform may have done what was asked although the answer is a failure.
func ambiguous(err error) bool {
	return opencti.IsTemporary(err) && !opencti.IsUnsent(err)
}

// insist repeats what fails for a while, with growing pauses, until it succeeds, fails for good or ctx ends.
func (b *Books) insist(ctx context.Context, what string, do func() error) error {
	return b.insistAsLongAs(ctx, opencti.IsTemporary, what, do)
}

func (b *Books) insistAsLongAs(ctx context.Context, passes func(error) bool, what string, do func() error) error {
	if gone := b.whyGone(); gone != nil {
		return fmt.Errorf("%s: %w", what, gone)
	}
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
			return fmt.Errorf("%s: %w", what, b.isGone(err))
		case ctx.Err() == nil && !passes(err):
			return fmt.Errorf("%s: %w", what, err)
		case ctx.Err() == nil && failures == 0:
			b.log.Warn("the platform does not answer as it should; trying again", zap.String("request", what), zap.Error(err))
		}
		if ended := remote.Wait(ctx, backoff.Delay(failures)); ended != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(ended, err))
		}
	}
}

// checkPatience is how long a question for the work is repeated that OpenCTI answers with an error: a search engine that
// restarts is back by then.
const checkPatience = 10 * time.Minute

// Check returns an error that wraps [ErrWorkGone] when the work that was opened does not exist any more, and nil once the
// platform has said that it does. It waits for a platform that is away until ctx ends, and for one that fails to answer for ten
// minutes: what the platform does not say is unknown.
func (b *Books) Check(ctx context.Context) error {
	workID := b.Work()
	if workID == "" {
		return nil
	}
	var failing time.Time // since when
	passes := func(err error) bool {
		switch {
		case opencti.IsTemporary(err):
			return true
		case opencti.IsRefused(err), opencti.IsUnauthorized(err):
			return false
		case failing.IsZero():
			failing = time.Now()
		}
		return time.Since(failing) < checkPatience
	}
	return b.insistAsLongAs(ctx, passes, "look for the work", func() error {
		_, err := b.works.Expectations(ctx, workID)
		return err
	})
}

// ErrUntold says that the platform does not tell how much lies in queues.
var ErrUntold = errors.New("this release of OpenCTI does not tell what waits in the queue")

// QueueSize tells how much lies in the connector's queue, or fails with [ErrUntold]. The same question asks for the work that was
// opened: the error wraps [ErrWorkGone] when that does not exist any more.
func (b *Books) QueueSize(ctx context.Context) (messages, bytes int64, err error) {
	workID := b.Work()
	seen, err := b.works.Watch(ctx, workID)
	if err == nil && workID != "" && !seen.WorkAlive {
		err = fmt.Errorf("look for the work: %w", b.isGone(opencti.ErrWorkNotAlive))
	}
	if err == nil && seen.Untold {
		err = ErrUntold
	}
	return seen.Messages, seen.Bytes, err
}

// isGone makes the run void, once.
func (b *Books) isGone(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone == nil {
		b.gone = errors.Join(ErrWorkGone, err)
		b.journal.Gone()
	}
	return b.gone
}

func (b *Books) whyGone() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gone
}

// Close closes the work, if one was opened and not closed before.
func (b *Books) Close(ctx context.Context, message string, inError bool) error {
	workID := b.Work()
	if workID == "" || b.closed {
		return nil
	}
	b.closed = true
	inDoubt := false // a request may have been heard: not repeated before the platform has said that it has not
	return b.insist(ctx, "close the work", func() error {
		if inDoubt {
			if done, err := b.works.Processed(ctx, workID); err != nil || done {
				return err
			}
		}
		err := b.works.CloseWork(ctx, workID, message, inError)
		inDoubt = inDoubt || (err != nil && ambiguous(err))
		return err
	})
}
