package main

import (
	"context"
	"fmt"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/bench/plot"
	"github.com/opencti-connectors/threatmatch/cmd/bench/report"
	"github.com/opencti-connectors/threatmatch/cmd/bench/twins"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// latency is what the slow API takes for each answer.
const latency = 50 * time.Millisecond

// concurrency is that of the settings' default.
const concurrency = 8

// asked imports once from a slow API, and returns what it was asked and how long the run took.
func (b *bench) asked(ctx context.Context, holds twins.Intelligence, at int) (a twins.Account, r run, err error) {
	a, err = withSource(ctx, holds, latency, func(from source) (err error) {
		r, err = b.once(ctx, from, place{}, fmt.Sprintf("THREATMATCH_CONCURRENCY=%d", at))
		return err
	})
	return a, r, err
}

// tenYears is a long history of indicators.
func tenYears(indicators int) twins.Intelligence {
	s := shape(0, 0, indicators)
	s.Start, s.Span = s.Start.AddDate(-10, 0, 0), 10*365*24*time.Hour
	return generated(s)
}

// measureLatency imports profiles, and indicators with eight cursors and with one in turn, from a slow API.
func (b *bench) measureLatency(ctx context.Context) error {
	items := generated(shape(b.slowItems, 0, 0))
	pages := tenYears(100 * b.slowPages)
	for range b.rounds(b.each) {
		a, _, err := b.asked(ctx, items, concurrency)
		if err != nil {
			return err
		}
		// From the first question to the last answer: both ends are noted when the latency is over.
		took := a.Items.Last.Sub(a.Items.First) + latency
		b.report.Add(report.ItemsLatency, float64(took)/(float64(a.Items.Calls)*float64(latency)/concurrency))

		many, side, err := b.asked(ctx, pages, concurrency)
		if err != nil {
			return err
		}
		one, plain, err := b.asked(ctx, pages, 1)
		if err != nil {
			return err
		}
		if side.messages != plain.messages {
			return fmt.Errorf("%d objects came with %d cursors, and %d with one", side.messages, concurrency, plain.messages)
		}
		b.report.Add(report.PagesLatency, float64(one.Pages.Last.Sub(one.Pages.First)+latency)/float64(many.Pages.Last.Sub(many.Pages.First)+latency))
		b.report.Add(report.PagesCalls, 100*float64(many.Pages.Calls)/float64(one.Pages.Calls))
	}
	b.report.Row(report.PagesLatency).Note = fmt.Sprintf("%d pages over ten years, from the first question to the last answer", b.slowPages)
	b.report.Row(report.ItemsLatency).Note = fmt.Sprintf("%d profiles, from the first question to the last answer; what they are held against is arithmetic, not a run: "+
		"calls × %d ms ÷ %d, as a client would take that has nothing to do but wait", b.slowItems, latency/time.Millisecond, concurrency)
	return nil
}

// measureConcurrency imports half as much from the slow API with more and more calls side by side.
func (b *bench) measureConcurrency(ctx context.Context) error {
	s := threatmatchtest.Shape{Seed: 1, Profiles: b.slowItems / 2, Start: b.medium.Start, Span: b.medium.Span}
	var items, pages, ideal []plot.Point
	for _, n := range b.concurrency {
		a, _, err := b.asked(ctx, generated(s), n)
		if err != nil {
			return err
		}
		p, _, err := b.asked(ctx, tenYears(100*b.slowPages/2), n)
		if err != nil {
			return err
		}
		x := float64(n)
		items = append(items, plot.Point{X: x, Y: perSecond(a.Items)})
		pages = append(pages, plot.Point{X: x, Y: perSecond(p.Pages)})
		ideal = append(ideal, plot.Point{X: x, Y: x / latency.Seconds()})
	}
	b.gallery.items, b.gallery.pages, b.gallery.ideal = items, pages, ideal
	return nil
}

// perSecond is the calls a second from the first question to the last answer.
func perSecond(a twins.Asked) float64 {
	return float64(a.Calls) / (a.Last.Sub(a.First) + latency).Seconds()
}
