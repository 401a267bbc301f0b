package heldstate

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/history"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/state"
)

// shown is the result of Show for programs.
type shown struct {
	ConnectorID string `json:"connector_id"`
	// Active and LastSeen are what OpenCTI tells of the connector itself.
	Active   bool      `json:"active"`
	LastSeen time.Time `json:"last_seen,omitzero"`
	// LastReset is when the connector was created or last reset.
	LastReset    time.Time `json:"last_reset,omitzero"`
	ResetPending bool      `json:"reset_pending"`
	// Problem is why the connector cannot use the state.
	Problem string `json:"problem,omitempty"`
	// LastRun is the last that ended with this CONNECTOR_STATE_DIR; absent where there is none.
	LastRun *snapshot.Run `json:"last_run,omitempty"`
	// OpenCTI is what its workers have made of the works that they are not through with; absent where there is none.
	OpenCTI *snapshot.Imports `json:"opencti,omitempty"`
	// State is the state as OpenCTI holds it: null for none, a text where it is no JSON.
	State json.RawMessage `json:"state"`
}

// Show tells what OpenCTI holds. It fails for a state that the connector cannot use, after showing it.
func (d *Desk) Show(ctx context.Context) error {
	held, err := d.look(ctx)
	if err != nil {
		return err
	}
	description, unusable := state.Describe(held.State)
	if d.JSON {
		result := shown{
			ConnectorID: d.ConnectorID, Active: held.Active, LastSeen: held.LastSeen, LastReset: held.Stamp,
			ResetPending: held.ResetPending, State: raw(held.State),
		}
		if shared := d.share(ctx, description.Works); shared.Expected > 0 || shared.Unknown != "" {
			result.OpenCTI = &shared.Imports
		}
		if past, err := history.Read(d.StateDir); err == nil && len(past.Runs) > 0 { // else nothing is known of it
			result.LastRun = &past.Runs[0]
		}
		if unusable != nil {
			result.Problem = unusable.Error()
		}
		if err := d.report(result); err != nil {
			return fmt.Errorf("write the state: %w", err)
		}
		return unusable
	}
	past, err := history.Read(d.StateDir)
	if err != nil {
		d.say("history         %v", err)
	}
	d.showConnector(held, time.Now())
	d.showLastRun(past)
	if unusable != nil {
		d.say("state           %s", held.State)
		return unusable
	}
	d.showOrigin(description)
	d.showDatasets(description)
	d.showBackfill(description)
	d.showWorks(ctx, description)
	return nil
}

func (d *Desk) showConnector(held holding, now time.Time) {
	d.say("connector       %s", d.ConnectorID)
	activity := "not active: not heard of for five minutes, or told to stop"
	if held.Active {
		activity = "active: OpenCTI has heard of it within five minutes"
	}
	d.say("in OpenCTI      %s", activity)
	if !held.LastSeen.IsZero() {
		d.say("last heard of   %s, %s", moment(held.LastSeen.Truncate(time.Second)), ago(held.LastSeen, now))
	}
	if !held.Stamp.IsZero() {
		d.say("last reset      %s (or created)", moment(held.Stamp.Truncate(time.Second)))
	}
	if held.ResetPending {
		d.say("                the connector has not heard of the reset yet")
	}
}

// showLastRun tells how the last run that ended here went.
func (d *Desk) showLastRun(past history.History) {
	if len(past.Runs) == 0 {
		return
	}
	last := past.Runs[0]
	d.say("last run        %s of %s, %s sent: %s", last.Purpose, moment(last.Began.Truncate(time.Second)), words.Counted(last.Sent, "object"), last.Outcome)
}

func (d *Desk) showOrigin(s state.Description) {
	if s.Nothing {
		d.say("state           none: the next run imports everything since %s", moment(d.ImportFrom))
		return
	}
	if !s.Edited.IsZero() {
		d.say("changed by hand %s; no connector has taken it over yet", moment(s.Edited))
	}
	if s.Folder == "" {
		d.say("written by      nobody with a state folder, as the connector before this one")
	} else {
		d.say("written by      folder %s, as commit %d", s.Folder, s.Commits)
	}
	if s.Index != "" {
		d.say("belongs to      index %s", s.Index)
	}
	d.say("complete until  %s", moment(s.LastRun))
	if !s.Beginning.IsZero() {
		d.say("imported since  %s", importedSince(s))
	}
	if len(s.Others) > 0 {
		d.say("others' members %s", list(s.Others))
	}
}

func (d *Desk) showDatasets(s state.Description) {
	d.say("")
	table := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DATASET\tREAD FROM\tPASS UNDER WAY\tFAILED\tGONE")
	for _, p := range s.Datasets {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\n", p.Name, moment(p.Since), passOf(p), len(p.Failed), len(p.Gone))
	}
	begin := s.ImportFrom
	if begin.IsZero() {
		begin = d.ImportFrom
	}
	for _, name := range d.Datasets {
		if _, found := s.Dataset(name); !found {
			fmt.Fprintf(table, "%s\t%s\tnever imported\t-\t-\n", name, moment(begin))
		}
	}
	_ = table.Flush() // as with every line
	d.showPasses(s.Datasets)
}

// showBackfill tells of what is left of a backfill.
func (d *Desk) showBackfill(s state.Description) {
	if len(s.Backfill) == 0 {
		return
	}
	d.say("\nBackfill under way, beside the schedule:")
	table := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DATASET\tREAD FROM\tTO\tPASS UNDER WAY\tFAILED\tGONE")
	for _, p := range s.Backfill {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\n", p.Name, moment(p.Since), moment(p.Until), passOf(p), len(p.Failed), len(p.Gone))
	}
	_ = table.Flush()
	d.showPasses(s.Backfill)
}

func passOf(p state.DatasetPlace) string {
	if p.Pass == nil {
		return "-"
	}
	return "of " + moment(p.Pass.Started)
}

// showPasses tells below a table how far its passes are, and what is owed.
func (d *Desk) showPasses(places []state.DatasetPlace) {
	for _, p := range places {
		if p.Pass != nil {
			d.say("%s: the pass is %s", p.Name, after(p.Pass.After))
		}
		if len(p.Failed) > 0 {
			d.say("%s that failed, tried again by each run: %s", p.Name, list(p.Failed))
		}
		if len(p.Gone) > 0 {
			d.say("%s that were listed and then not found: %s", p.Name, list(p.Gone))
		}
	}
}

func (d *Desk) showWorks(ctx context.Context, s state.Description) {
	if len(s.Works) > 0 {
		shared := d.share(ctx, s.Works)
		d.say("\nWorks that OpenCTI may not have imported all of:")
		table := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "WORK\tRUN\tOPENED\tSTATE\tIMPORTED")
		for _, w := range s.Works {
			fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\n", w.ID, w.Run, moment(w.Opened), workState(w), shared.of[w.ID])
		}
		_ = table.Flush()
		d.showShare(shared)
	}
	if len(s.Doubted) > 0 {
		d.say("\nRuns whose works were lost, so that what they brought is sent again as it comes: %v", s.Doubted)
	}
}

func workState(w state.Work) string {
	said := "being imported"
	switch {
	case w.Open:
		said = "open"
	case w.Done:
		said = "imported, some still to be sent again"
	}
	if n := w.Failed(); n > 0 {
		said += fmt.Sprintf(", %s worked off", count(n, "failed import", "failed imports"))
	}
	return said
}
