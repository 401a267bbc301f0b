package status

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// onePage is a source of one page of items of alerts.
type onePage int

func (onePage) Dataset() string { return "alerts" }

func (n onePage) Pages(context.Context, pipeline.Cursor) iter.Seq2[pipeline.Page, error] {
	return func(yield func(pipeline.Page, error) bool) {
		var p pipeline.Page
		for i := range int(n) {
			p.Items = append(p.Items, pipeline.Item{Dataset: "alerts", ID: fmt.Sprint(i), Data: []byte("{}")})
		}
		yield(p, nil)
	}
}

// twoOfEach makes two objects of each item, once it is opened.
type twoOfEach chan struct{}

func (t twoOfEach) Transform(context.Context, pipeline.Item) ([]pipeline.Object, error) {
	<-t
	return make([]pipeline.Object, 2), nil
}

// gate is a sink that takes nothing before it is opened.
type gate chan struct{}

func (g gate) Put(_ context.Context, _ pipeline.Item, _ []pipeline.Object, settled func(pipeline.Outcome)) error {
	<-g
	settled(pipeline.Delivered)
	return nil
}
func (gate) Tick(context.Context) error                 { return nil }
func (gate) Hurry(context.Context) error                { return nil }
func (gate) Finish(context.Context, pipeline.End) error { return nil }
func (gate) Carry(_ context.Context, _ string, settled func(pipeline.Outcome)) error {
	settled(pipeline.Delivered)
	return nil
}

type noCheckpoint struct{}

func (noCheckpoint) Cursor(string) pipeline.Cursor                            { return pipeline.Cursor{} }
func (noCheckpoint) Commit(context.Context, map[string]pipeline.Cursor) error { return nil }

func TestTheStagesAreToldWhileARunIsUnderWayAndAddUpOverRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const items, transformers, channel = 300, 2, 64
		s := New(load(t, nil), []string{"alerts", "iocs"})
		run := func(transform twoOfEach, sink gate, shut chan struct{}, underWay, after map[string]float64) {
			p := rabbitmq.New(rabbitmq.Config{Exchange: "x", RoutingKey: "k", Dial: noBroker})
			s.RunStarted(emit.New(emit.Config{}), p, 1)
			ended := make(chan pipeline.Report, 1)
			go func() {
				ended <- pipeline.Run(t.Context(), pipeline.Config{Transformers: transformers, Meter: s.Meter()}, []pipeline.Source{onePage(items)}, transform, sink, noCheckpoint{})
			}()
			time.Sleep(time.Minute) // in a bubble
			synctest.Wait()
			got := figuresOf(t, s)
			expectFigures(t, got, underWay)
			expectFigures(t, got, map[string]float64{
				`channel_capacity_items{stage="transform"}`: channel, `channel_capacity_items{stage="emit"}`: channel,
				`oldest_unsettled_page_age_seconds{dataset="alerts"}`: 60, `oldest_unsettled_page_age_seconds{dataset="iocs"}`: 0,
			})
			if got["payload_bytes"] <= 0 || got["payload_limit_bytes"] < got["payload_bytes"] {
				t.Errorf("%v of %v bytes are on their way", got["payload_bytes"], got["payload_limit_bytes"])
			}
			close(shut)
			report := <-ended
			s.RunEnded(report, report.Failure())
			if err := errors.Join(report.Failure(), p.Close(t.Context())); err != nil {
				t.Error(err)
			}
			got = figuresOf(t, s)
			expectFigures(t, got, after)
			expectFigures(t, got, map[string]float64{
				`channel_items{stage="emit"}`: 0, `channel_capacity_items{stage="emit"}`: 0, "payload_bytes": 0,
				`oldest_unsettled_page_age_seconds{dataset="alerts"}`: 0,
			})
		}
		open, sink, transform := make(chan struct{}), make(gate), make(twoOfEach)
		close(open)
		run(open, sink, sink, map[string]float64{
			`stage_items_total{stage="fetch"}`: 2*channel + transformers + 1, `stage_items_total{stage="transform"}`: channel + 1,
			`stage_items_total{stage="emit"}`: 0, "transformed_objects_total": 2 * (channel + 1),
			`channel_items{stage="transform"}`: channel, `channel_items{stage="emit"}`: channel,
		}, map[string]float64{
			`stage_items_total{stage="fetch"}`: items, `stage_items_total{stage="emit"}`: items, "transformed_objects_total": 2 * items,
		})
		run(transform, open, transform, map[string]float64{
			`stage_items_total{stage="fetch"}`: items + channel + transformers, `stage_items_total{stage="transform"}`: items, `stage_items_total{stage="emit"}`: items,
			`channel_items{stage="transform"}`: channel, `channel_items{stage="emit"}`: 0,
		}, map[string]float64{
			`stage_items_total{stage="fetch"}`: 2 * items, `stage_items_total{stage="emit"}`: 2 * items, "transformed_objects_total": 4 * items,
		})
	})
}
