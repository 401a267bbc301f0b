package opencti

import (
	"context"
)

// ImportProgress is how far OpenCTI's workers are with a work.
type ImportProgress struct {
	// WorkAlive is false once an operator has deleted the work; then nothing else of it is known.
	WorkAlive bool
	// Expected and Done are numbers of messages. Done counts those that failed too. Of a complete work the platform keeps one
	// number for both.
	Expected, Done int
	// Errors counts the work's errors, the first hundred at most, by the platform's name for what went wrong, "" where the message
	// gives none, without what [Client.CloseWork] and [Client.ReportLeftOut] have said. Of a work that was closed twice it has
	// what was said first.
	Errors map[string]int
	// Said is how many are left out of Errors.
	Said int
	// Messages and Bytes wait in the connector's queue.
	Messages, Bytes int64
}

// ImportProgress tells how far a work is, and what waits in the queue, for a fraction of what [Client.Work] costs: no object is read. It
// fails with ErrConnectorGone when the platform does not know the connector.
func (c *Client) ImportProgress(ctx context.Context, workID string) (ImportProgress, error) {
	answer, err := importProgress(ctx, c, c.connectorID, workID)
	if err != nil {
		return ImportProgress{}, err
	}
	seen, err := c.watched(answer.Connector, answer.Work != nil || c.lacking(workMember))
	if err != nil {
		return ImportProgress{}, err
	}
	p := ImportProgress{WorkAlive: seen.WorkAlive, Messages: seen.Messages, Bytes: seen.Bytes}
	w := answer.Work
	if w == nil {
		return p, nil
	}
	if t := w.Tracking; t != nil {
		p.Expected, p.Done = count(t.Import_expected_number), count(t.Import_processed_number)
	}
	for _, e := range w.Errors[:min(len(w.Errors), MaxImportErrors)] {
		if e == nil {
			continue
		}
		name, message := parseImportError(str(e.Message))
		// What closes a work is of the moment at which it was closed; its source, which a worker's would have, is not asked for.
		at := e.Timestamp.time()
		closing := !at.IsZero() && at.Equal(w.Processed_time.time())
		if closing || (ImportError{Message: message}).LeftOut() {
			p.Said++
			continue
		}
		if p.Errors == nil {
			p.Errors = map[string]int{}
		}
		p.Errors[tidy(c.secrets, name)]++
	}
	return p, nil
}
