package emit

import "context"

// Publisher hands messages to the broker, in order.
type Publisher interface {
	// Publish blocks while the broker takes no more. settled is called once, from any goroutine: with nil when the broker has
	// taken the message for good, and with an error when it refuses this one for good, whose MostBytes, where it has such a method,
	// says how large a message it takes. body is the publisher's until then, and not read any more from then on: it becomes
	// another message. meanwhile is called while it blocks, on the caller's goroutine, at its begin and whenever messages were settled.
	Publish(ctx context.Context, body []byte, settled func(refused error), meanwhile func()) error
	// Flush returns when everything published is settled, and calls meanwhile likewise.
	Flush(ctx context.Context, meanwhile func()) error
}

// Drafts is where analysts look through what was imported before it becomes knowledge.
type Drafts interface {
	CreateDraft(ctx context.Context, name string) (id string, err error)
	// AddDraftContext says that what a work brings goes into a draft.
	AddDraftContext(ctx context.Context, workID, draftID string) error
}

// queueOutlet publishes to the queue that OpenCTI's workers read.
type queueOutlet struct {
	Publisher
	books    *Books
	drafts   Drafts // nil for none
	drafted  bool   // the run has a draft
	envelope envelope
	bundle   []byte // reused
	posts    posts
}

// mostRoom bounds what is kept to be used again: an object of ordinary size fits in.
const mostRoom = 64 << 10

// NewQueueOutlet returns an outlet that publishes each message, and tells the books what to expect. The objects are imported in the
// name of the user with the id and, where drafts are given, into one that is named after the run's work.
func NewQueueOutlet(p Publisher, books *Books, applicantID string, drafts Drafts) Outlet {
	return &queueOutlet{Publisher: p, books: books, drafts: drafts, envelope: newEnvelope(applicantID)}
}

// Begin tells the books.
func (q *queueOutlet) Begin(ctx context.Context, n int) error {
	if err := q.openDraft(ctx); err != nil {
		return err
	}
	return q.books.Expect(ctx, n)
}

// openDraft opens the draft of the run, once. One whose answer was lost stays behind, empty.
func (q *queueOutlet) openDraft(ctx context.Context) error {
	if q.drafts == nil || q.drafted {
		return nil
	}
	if err := q.books.Open(ctx); err != nil {
		return err
	}
	work, id := q.books.Work(), ""
	if err := q.books.insist(ctx, "open a draft", func() (err error) {
		id, err = q.drafts.CreateDraft(ctx, work+".json") // as the platform's other connectors name theirs
		return err
	}); err != nil {
		return err
	}
	if err := q.books.insist(ctx, "tell the work its draft", func() error {
		return q.drafts.AddDraftContext(ctx, work, id)
	}); err != nil {
		return err
	}
	q.envelope.draft, q.drafted = jsonString(id), true
	return nil
}

// Send publishes the message.
func (q *queueOutlet) Send(ctx context.Context, m Message, sender Sender, meanwhile func()) error {
	p := q.posts.take()
	if p == nil {
		p = &post{outlet: q}
		p.settled = p.settle
	}
	q.bundle = m.appendBundle(q.bundle[:0])
	p.sender, p.body = sender, q.envelope.message(p.body, m, q.bundle)
	if cap(q.bundle) > mostRoom {
		q.bundle = nil
	}
	return q.Publish(ctx, p.body, p.settled, meanwhile)
}

// Instead tells the books.
func (q *queueOutlet) Instead(ctx context.Context, n int) error { return q.books.Expect(ctx, n-1) }

// LeaveOut tells the books.
func (q *queueOutlet) LeaveOut(ctx context.Context, what string) error {
	return q.books.LeaveOut(ctx, what)
}
