package preview

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// listed is the API for one dataset of items of which the list is known, and cut down to what is to be read.
type listed struct {
	*threatmatch.Client
	ids []string
}

// List answers without a call.
func (l listed) List(context.Context, string, time.Time) ([]string, error) { return l.ids, nil }

// problems keeps what sources could not read: all in number, the first few by name.
type problems struct {
	mu    sync.Mutex
	count map[string]int
	named map[string][]Failed
}

// mostNamed bounds the failed items that are named of a dataset.
const mostNamed = 20

func newProblems() *problems {
	return &problems{count: map[string]int{}, named: map[string][]Failed{}}
}

func (p *problems) add(dataset string, found []pipeline.Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count[dataset] += len(found)
	for _, problem := range found {
		if len(p.named[dataset]) < mostNamed {
			p.named[dataset] = append(p.named[dataset], Failed{problem.ID, problem.Err.Error()})
		}
	}
}

// watched is a source whose problems are kept.
type watched struct {
	pipeline.Source
	problems *problems
}

// Pages hands on the source's pages.
func (w watched) Pages(ctx context.Context, from pipeline.Cursor) iter.Seq2[pipeline.Page, error] {
	return func(yield func(pipeline.Page, error) bool) {
		for page, err := range w.Source.Pages(ctx, from) {
			w.problems.add(w.Dataset(), page.Problems)
			if !yield(page, err) {
				return
			}
		}
	}
}
