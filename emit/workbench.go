package emit

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
)

// Uploads is where analysts find what they look through before it is imported.
type Uploads interface {
	// UploadWorkbench stores a bundle under a name, in place of what has it.
	UploadWorkbench(ctx context.Context, name string, bundle []byte) error
}

// workbench deposits each bundle in OpenCTI as a workbench, which the run's work expects and counts.
type workbench struct {
	uploads Uploads
	books   *Books
	log     *zap.Logger
	number  int // of the last one
}

// NewWorkbench returns a deposit whose bundles are imported by hand.
func NewWorkbench(uploads Uploads, books *Books, log *zap.Logger) Deposit {
	return &workbench{uploads: uploads, books: books, log: log}
}

// Put uploads a bundle. One that is too large for OpenCTI, or for a proxy before it, goes in halves; an object that is too large
// alone is named in the work and the log, and left out.
func (w *workbench) Put(ctx context.Context, b Bundle) error {
	err := w.upload(ctx, b)
	switch n := len(b.Messages); {
	case !opencti.IsTooLarge(err):
		return err
	case n == 1:
		id := b.Messages[0].ObjectID()
		w.log.Warn("an object is not taken for its size, so it is left out; raise OpenCTI's app:max_payload_body_size, or the limit of the proxy before it", zap.String("object", id), zap.Error(err))
		return w.books.List(ctx, fmt.Sprintf("%s, which has %d bytes: OpenCTI, or a proxy before it, takes no file of that size", id, len(b.Messages[0].Object)))
	default:
		if err := w.Put(ctx, Bundle{Messages: b.Messages[:n/2]}); err != nil {
			return err
		}
		return w.Put(ctx, Bundle{Messages: b.Messages[n/2:]})
	}
}

// upload uploads a bundle under the name of the work. What was uploaded by an attempt whose answer was lost is replaced.
func (w *workbench) upload(ctx context.Context, b Bundle) error {
	if err := w.books.Open(ctx); err != nil {
		return err
	}
	name := w.books.Work() + ".json" // as connectors do that upload a run in one piece
	if w.number > 0 {
		name = fmt.Sprintf("%s-%04d.json", w.books.Work(), w.number+1)
	}
	text := b.Text()
	if err := w.books.insist(ctx, "upload a bundle for validation", func() error {
		return w.uploads.UploadWorkbench(ctx, name, text)
	}); err != nil {
		return err
	}
	w.number++
	if err := w.books.Expect(ctx, 1); err != nil {
		return err
	}
	// One that counts twice after a lost answer harms nothing: a work of many parts is complete when it is closed.
	return w.books.insist(ctx, "report the upload", func() error {
		return w.books.works.ReportLeftOut(ctx, w.books.Work(), "") // as a worker does that is through with a message
	})
}
