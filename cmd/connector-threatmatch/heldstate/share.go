package heldstate

import (
	"context"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/history"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
)

// share is what OpenCTI's workers have made of works.
type share struct {
	snapshot.Imports
	of map[string]string // in words, by work
	// waiting messages, of so many bytes, lie in the queue.
	waiting, waitingBytes int64
}

// share asks OpenCTI for each work, and the history of runs in the state folder for how fast it imported last. What cannot be asked is
// told as such.
func (d *Desk) share(ctx context.Context, works []state.Work) share {
	s, failed := share{of: map[string]string{}}, map[string]int64{}
	for _, w := range works {
		if w.Done {
			s.of[w.ID] = "all"
			continue
		}
		p, err := d.Platform.ImportProgress(ctx, w.ID)
		switch {
		case err != nil:
			s.of[w.ID], s.Unknown = "unknown", err.Error()
			continue
		case !p.WorkAlive:
			s.of[w.ID] = "the work was deleted"
			continue
		}
		s.AsOf = time.Now().UTC()
		s.Expected, s.Done = s.Expected+int64(p.Expected), s.Done+int64(p.Done)
		s.waiting, s.waitingBytes = p.Messages, p.Bytes
		s.of[w.ID] = ofWork(p)
		for name, n := range p.Errors {
			failed[name] += int64(n)
		}
		failed[""] -= int64(w.Said)
	}
	s.Failed = status.Reasons(failed)
	if past, err := history.Read(d.StateDir); err == nil && past.ImportRate.PerSecond > 0 { // where it cannot be read nothing is known
		s.Rate, s.RateAt = past.ImportRate.PerSecond, past.ImportRate.At
		s.Remaining = past.ImportRate.Takes(s.Left()).Seconds()
	}
	return s
}

func ofWork(p opencti.ImportProgress) string {
	return words.Grouped(int64(p.Done)) + " of " + words.Grouped(int64(p.Expected))
}

// showShare tells of all works together.
func (d *Desk) showShare(s share) {
	if s.Unknown != "" {
		d.say("what OpenCTI has imported cannot be asked: %s", s.Unknown)
	}
	if s.Expected == 0 {
		return
	}
	d.say("OpenCTI has imported %s", s.Imports)
	if s.waiting > 0 {
		d.say("in the queue: %s, %s", words.Counted(s.waiting, "message"), words.Bytes(s.waitingBytes))
	}
	if s.Left() > 0 && s.Rate > 0 {
		d.say("at %.3g messages/s, which its workers managed at %s", s.Rate, moment(s.RateAt.Truncate(time.Second)))
	} else if s.Left() > 0 {
		d.say("how fast its workers import is not known here: the connector measures it, in CONNECTOR_STATE_DIR")
	}
}
