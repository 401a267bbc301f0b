package connector

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state"
)

// snapshot is the run as the status shows it, and what holds it up.
func (s *story) snapshot() (snapshot.Run, status.Limit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	account, inside := s.account(), s.meter.Read()
	_, waits := s.lately(s.read())
	run := snapshot.Run{
		Purpose: s.purpose, Began: s.began.UTC(), Sent: account.Confirmed, Skipped: account.Known,
		LeftOut: inside.LeftOut + account.Refused + account.Broken, NotFetched: inside.Problems, WaitsFor: waits.Says,
	}
	if left, known := s.left(waits); known {
		run.Remaining = left.Seconds()
	}
	for _, c := range s.datasets {
		run.Datasets = append(run.Datasets, c.shown())
	}
	return run, waits
}

// shown is how far a dataset is.
func (c *chapter) shown() snapshot.Dataset {
	d := snapshot.Dataset{
		Name: strings.TrimPrefix(c.dataset, state.InBackfill("")), Since: c.since.UTC(), Items: c.items, Left: c.at.Left, Share: c.at.Share, Done: c.done && c.err == nil,
	}
	if !c.at.Until.IsZero() {
		d.Until = c.at.Until.UTC()
	}
	if left, known := c.pace.left(c.at.Share, time.Now()); known && !c.done {
		d.Remaining = left.Seconds()
	}
	if c.done && c.err == nil {
		d.Share = 1
	}
	if c.err != nil && !errors.Is(c.err, context.Canceled) { // else it was told to stop
		d.Failure = remote.Once(c.err)
	}
	return d
}

// notBegun is a run that ended before anything was read.
func notBegun(why purpose, started time.Time, outcome string, failure error, fit func(text string) string) snapshot.Run {
	return concluded(snapshot.Run{Purpose: why.String(), Began: started.UTC()}, outcome, failure, fit)
}

// concluded is a run with its end. One that was told to stop has not failed: the next goes on from where it got.
func concluded(run snapshot.Run, outcome string, failure error, fit func(text string) string) snapshot.Run {
	run.Ended, run.Outcome, run.Failed = time.Now().UTC(), outcome, outcome == incomplete
	if run.Failed {
		run.Outcome = incomplete + ": " + fit(remote.Once(failure))
	}
	return run
}

// ended is the run once it has ended, with what it says made fit to be kept.
func (s *story) ended(report pipeline.Report, outcome string, failure error, fit func(text string) string) snapshot.Run {
	run, _ := s.snapshot()
	run = concluded(run, outcome, failure, fit)
	run.WaitsFor, run.Remaining = "", 0
	run.LeftOut, run.NotFetched = int64(leftOut(report, s.account()).Total()), 0
	for _, d := range report.Datasets {
		run.NotFetched += int64(d.Problems)
	}
	for i := range run.Datasets {
		run.Datasets[i].Remaining, run.Datasets[i].Failure = 0, fit(run.Datasets[i].Failure)
	}
	return run
}
