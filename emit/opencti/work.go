package opencti

import (
	"context"
	"fmt"
)

// AddWork opens a work that stays open until [Client.CloseWork], on platforms that can, and returns its id. When the
// answer is lost the platform may have opened a work that nobody knows of: nothing closes it, and no message refers to it.
func (c *Client) AddWork(ctx context.Context, friendlyName string) (id string, err error) {
	err = c.adapting(func() error {
		if c.lacking(multiPartWork) {
			answer, err := workAddSinglePart(ctx, c, c.connectorID, &friendlyName)
			if err != nil {
				return err
			}
			id = answer.WorkAdd.Id
			return nil
		}
		multiPart := true
		answer, err := workAdd(ctx, c, c.connectorID, &friendlyName, &multiPart)
		if err != nil {
			return err
		}
		id = answer.WorkAdd.Id
		return nil
	}, multiPartWork)
	if err == nil && id == "" {
		err = &Error{Operation: "workAdd", Message: "the answer holds no work"}
	}
	return id, err
}

// AddExpectations says that n more messages of the work follow. It is not idempotent: after an answer that was lost,
// [Client.Expectations] tells whether it was counted. Few releases fail with ErrWorkNotAlive when the work was deleted, most
// answer as ever: [Client.Watch] tells.
func (c *Client) AddExpectations(ctx context.Context, workID string, n int) error {
	if n < 0 {
		return &Error{Operation: "addExpectations", Message: fmt.Sprintf("cannot expect %d messages", n), Unsent: true}
	}
	answer, err := addExpectations(ctx, c, workID, &n)
	if err == nil && answer.WorkEdit == nil {
		err = fmt.Errorf("call OpenCTI addExpectations: %w", ErrWorkNotAlive)
	}
	return err
}

// Expectations returns how many messages the work expects so far. It fails with ErrWorkNotAlive when the platform does
// not know the work.
func (c *Client) Expectations(ctx context.Context, workID string) (n int, err error) {
	answer, err := workTracking(ctx, c, workID)
	switch {
	case err != nil:
		return 0, err
	case answer.Work == nil:
		return 0, fmt.Errorf("call OpenCTI work: %w", ErrWorkNotAlive)
	case answer.Work.Tracking == nil || answer.Work.Tracking.Import_expected_number == nil:
		return 0, nil
	}
	return *answer.Work.Tracking.Import_expected_number, nil
}

// Processed reports whether the work was closed: after an answer to [Client.CloseWork] that was lost, it tells whether
// that was heard. It fails with ErrWorkNotAlive when the platform does not know the work.
func (c *Client) Processed(ctx context.Context, workID string) (bool, error) {
	answer, err := workProcessed(ctx, c, workID)
	switch {
	case err != nil:
		return false, err
	case answer.Work == nil:
		return false, fmt.Errorf("call OpenCTI work: %w", ErrWorkNotAlive)
	}
	return answer.Work.Processed_time != nil, nil
}

// leftOut begins what [Client.ReportLeftOut] puts among the errors of a work.
const leftOut = "left out: "

// ReportLeftOut says that a message which the work expects is not coming: it counts as processed. Where what says which one, that
// is among the work's errors then, without a source, of which the platform keeps the first hundred. It is not idempotent: one
// that counts twice completes the work a message too early.
func (c *Client) ReportLeftOut(ctx context.Context, workID, what string) error {
	var failure *WorkErrorInput
	if what != "" {
		said := leftOut + what
		failure = &WorkErrorInput{Error: &said}
	}
	answer, err := reportExpectation(ctx, c, workID, failure)
	if err == nil && answer.WorkEdit == nil {
		err = fmt.Errorf("call OpenCTI reportExpectation: %w", ErrWorkNotAlive)
	}
	return err
}

// CloseWork says that nothing more of the work follows, and how it went. Of a deleted work it may fail with
// ErrWorkNotAlive, or be answered as ever.
func (c *Client) CloseWork(ctx context.Context, workID, message string, inError bool) error {
	answer, err := toProcessed(ctx, c, workID, &message, &inError)
	if err == nil && answer.WorkEdit == nil {
		err = fmt.Errorf("call OpenCTI toProcessed: %w", ErrWorkNotAlive)
	}
	return err
}
