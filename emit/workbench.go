package emit

import (
	"context"
	"fmt"
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
}

// NewWorkbench returns a deposit whose bundles are imported by hand.
func NewWorkbench(uploads Uploads, books *Books) Deposit { return workbench{uploads, books} }

// Put uploads a bundle under the name of the work. What was uploaded by an attempt whose answer was lost is replaced.
func (w workbench) Put(ctx context.Context, b Bundle) error {
	if err := w.books.Expect(ctx, 1); err != nil {
		return err
	}
	name := w.books.Work() + ".json" // as connectors do that upload a run in one piece
	if b.Number > 1 {
		name = fmt.Sprintf("%s-%04d.json", w.books.Work(), b.Number)
	}
	if err := w.books.insist(ctx, "upload a bundle for validation", func() error {
		return w.uploads.UploadWorkbench(ctx, name, b.Text)
	}); err != nil {
		return err
	}
	// One that counts twice after a lost answer harms nothing: a work of many parts is complete when it is closed.
	return w.books.insist(ctx, "report the upload", func() error {
		return w.books.works.ReportLeftOut(ctx, w.books.Work(), "") // as a worker does that is through with a message
	})
}
