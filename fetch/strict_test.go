package fetch

import (
	"context"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// itemsReadSo and indicatorsReadSo say of everything that they serve whether it was read strictly.
type itemsReadSo struct {
	*itemServer
	strict bool
}

func (s itemsReadSo) ItemWithin(ctx context.Context, dataset, id string, grow func(int64) error) (threatmatch.Item, error) {
	item, err := s.itemServer.ItemWithin(ctx, dataset, id, grow)
	item.Strict = s.strict
	return item, err
}

type indicatorsReadSo struct {
	*indicatorServer
	strict bool
}

func (s indicatorsReadSo) IndicatorsWithin(ctx context.Context, group, after string, grow func(int64) error) (threatmatch.IndicatorPage, error) {
	page, err := s.indicatorServer.IndicatorsWithin(ctx, group, after, grow)
	page.Strict = s.strict
	return page, err
}

// An item that claims to have been read strictly, and was not, would go out as it is: with names given twice, or text that is no Unicode.
func TestAnItemSaysWhetherItWasReadStrictly(t *testing.T) {
	for _, strict := range []bool{true, false} {
		for _, source := range []pipeline.Source{
			Items(itemsReadSo{&itemServer{ids: []string{"1", "2"}, now: noon}, strict}, "alerts", Options{}),
			Indicators(indicatorsReadSo{evenly(3, 2, time.Millisecond), strict}, Options{Concurrency: 1}),
		} {
			came := 0
			for page, err := range source.Pages(t.Context(), longAgo) {
				if err != nil {
					t.Fatal(err)
				}
				for _, item := range page.Items {
					if came++; item.Strict != strict {
						t.Errorf("%s %s of an answer that was read strictly: %t, says %t", item.Dataset, item.ID, strict, item.Strict)
					}
				}
			}
			if came == 0 {
				t.Errorf("nothing came of %s", source.Dataset())
			}
		}
	}
}
