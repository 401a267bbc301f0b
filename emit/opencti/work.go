package opencti

import (
	"context"
	"errors"
	"fmt"
)

// AddWork opens a work that stays open until [Client.CloseWork], on platforms that can, and returns its id. When the
// answer is lost the platform may have opened a work that nobody knows of: nothing closes it, and no message refers to it.
func (c *Client) AddWork(ctx context.Context, friendlyName string) (id string, err error) {
	multiPart := true
	answer, err := workAdd(ctx, c, c.connectorID, &friendlyName, &multiPart)
	if err != nil {
		return "", err
	}
	if answer.WorkAdd.Id == "" {
		return "", &Error{Operation: "workAdd", Message: "the answer holds no work"}
	}
	return answer.WorkAdd.Id, nil
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
	return c.orDead(ctx, workID, err)
}

// orDead finds out whether a change of a work failed because the work was deleted: releases before 6.8 stumble over one that is
// not there, and say so in words of their own.
func (c *Client) orDead(ctx context.Context, workID string, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Name == "" || e.Temporary || e.misfit || IsUnauthorized(err) || errors.Is(err, ErrWorkNotAlive) {
		return err
	}
	if _, asked := c.Processed(ctx, workID); errors.Is(asked, ErrWorkNotAlive) {
		return fmt.Errorf("%w (%w)", ErrWorkNotAlive, err)
	}
	return err
}

// Expectations returns how many messages the work expects so far. It fails with ErrWorkNotAlive when the platform does
// not know the work; where it tells nothing of works each is taken to be there.
func (c *Client) Expectations(ctx context.Context, workID string) (n int, err error) {
	answer, err := workTracking(ctx, c, workID)
	switch {
	case err != nil && c.lacking(workMember):
		return 0, nil
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
	case err != nil && c.lacking(workMember):
		return false, nil
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
	return c.orDead(ctx, workID, err)
}
