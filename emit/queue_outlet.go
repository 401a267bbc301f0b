package emit

import "context"

// Publisher hands messages to the broker, in order.
type Publisher interface {
	// Publish blocks while the broker takes no more. confirmed is called once, from any goroutine, when the broker has
	// taken the message for good. The publisher keeps body until then. meanwhile is called while it blocks, on the
	// caller's goroutine, at its begin and whenever messages were confirmed.
	Publish(ctx context.Context, body []byte, confirmed, meanwhile func()) error
	// Flush returns when everything published is confirmed, and calls meanwhile likewise.
	Flush(ctx context.Context, meanwhile func()) error
}

// queueOutlet publishes to the queue that OpenCTI's workers read.
type queueOutlet struct {
	Publisher
	books    *Books
	envelope envelope
}

// NewQueueOutlet returns an outlet that publishes each message, and tells the books what to expect. The objects are imported in the
// name of the user with the id.
func NewQueueOutlet(p Publisher, books *Books, applicantID string) Outlet {
	return queueOutlet{p, books, newEnvelope(applicantID)}
}

// Begin tells the books.
func (q queueOutlet) Begin(ctx context.Context, n int) error { return q.books.Expect(ctx, n) }

// Send publishes the message.
func (q queueOutlet) Send(ctx context.Context, m Message, confirmed, meanwhile func()) error {
	return q.Publish(ctx, q.envelope.message(m), confirmed, meanwhile)
}
