package heldstate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state"
	"github.com/opencti-connectors/threatmatch/state/index"
)

const (
	// looks and pause bound the wait for OpenCTI to show what it has stored: its storage lags by a second, seldom by more.
	looks = 15
	pause = time.Second
)

// errUnanswered says that the operator did not say yes.
var errUnanswered = errors.New("nothing was changed: the answer was not yes")

// changed is the result of a change for programs.
type changed struct {
	// Changed is false where there was nothing to do.
	Changed bool            `json:"changed"`
	Before  json.RawMessage `json:"before"`
	After   json.RawMessage `json:"after"`
}

// change makes a change of the state that OpenCTI holds, tells of it, asks, stores it, and looks whether it is held.
func (d *Desk) change(ctx context.Context, make func(state.Held) (state.Change, error), tell func(state.Change)) error {
	held, err := d.look(ctx)
	if err != nil {
		return err
	}
	if err := d.mustBeStopped(held); err != nil {
		return err
	}
	if err := d.mustBeNewest(held); err != nil {
		return err
	}
	change, err := make(held.Held)
	if err != nil {
		return err
	}
	if change.Text == "" {
		d.say("OpenCTI holds just that; there is nothing to change")
		return d.report(changed{false, raw(held.State), raw(held.State)})
	}
	tell(change)
	if err := d.confirm("Store this in OpenCTI?"); err != nil {
		return err
	}
	now, err := d.look(ctx)
	if err != nil {
		return err
	}
	if !state.SameText(now.State, held.State) || !now.Stamp.Equal(held.Stamp) {
		return errors.New("nothing was changed: OpenCTI holds another state than when you were asked; stop the connector, look again and repeat the command")
	}
	if err := d.mustBeStopped(now); err != nil {
		return err
	}
	if err := d.store(ctx, held.Held, change.Text); err != nil {
		return err
	}
	d.say("Stored: OpenCTI holds it. A connector that starts goes on from there.")
	if d.Force && now.Active {
		d.say("If one runs all the same, it has put its own state back in a minute: see `state show` then.")
	}
	return d.report(changed{true, raw(held.State), raw(change.Text)})
}

// mustBeStopped refuses where OpenCTI takes the connector for one that runs: its next ping would put its own state back. A state
// that was changed by hand and is still there says that what OpenCTI has heard was that change.
func (d *Desk) mustBeStopped(held holding) error {
	if !held.Active || d.Force {
		return nil
	}
	if s, err := state.Describe(held.State); err == nil && !s.Edited.IsZero() {
		return nil
	}
	return fmt.Errorf("nothing was changed: the connector is active, for OpenCTI has heard of it within five minutes, and one that runs puts its own state back; "+
		"stop the connector first and repeat this five minutes later, or say --force if it is surely stopped%s", lastHeard(held.LastSeen))
}

// mustBeNewest refuses where the folder of the index, if it is here, has known a newer state than OpenCTI shows: a connector that
// starts recovers from that, and would not notice it on a state that counts more.
func (d *Desk) mustBeNewest(held holding) error {
	folder, commits, known := index.Counted(d.StateDir)
	s, err := state.Describe(held.State)
	if !known || err != nil || s.Folder != folder || s.Commits >= commits {
		return nil
	}
	return fmt.Errorf("nothing was changed: OpenCTI shows a state that is older than what %s knows of (commit %d of %d), as after it was restored from a backup; "+
		"start the connector, which recovers from that, stop it and repeat the command", d.StateDir, s.Commits, commits)
}

func lastHeard(seen time.Time) string {
	if seen.IsZero() {
		return ""
	}
	return fmt.Sprintf(" (last heard of %s)", ago(seen, time.Now()))
}

// confirm asks for a yes.
func (d *Desk) confirm(question string) error {
	if d.Yes {
		return nil
	}
	if d.Ask == nil {
		return &Refusal{"nothing was changed: nobody can be asked, for the input is no terminal; say --yes to change it without being asked"}
	}
	answer, err := d.Ask(question + " Type yes: ")
	switch {
	case err != nil:
		return &Refusal{"nothing was changed: no answer could be read; say --yes to change it without being asked"}
	case strings.TrimSpace(answer) != "yes":
		return errUnanswered
	}
	return nil
}

// store pings until OpenCTI has stored a text, and then looks until it shows it. The mark of a reset takes a ping of its own, and the
// answer to a ping that was lost is made good for by looking.
func (d *Desk) store(ctx context.Context, before state.Held, text string) error {
	var last error
	for attempt := range looks {
		if attempt > 0 {
			if err := remote.Wait(ctx, pause); err != nil {
				return fmt.Errorf("store the state in OpenCTI: %w", errors.Join(err, last))
			}
		}
		echo, err := d.Platform.StoreState(ctx, text)
		if last = err; err != nil {
			if !opencti.IsTemporary(err) {
				return fmt.Errorf("store the state in OpenCTI: %w", d.explain(err))
			}
			continue
		}
		if !before.Stamp.IsZero() && echo.StateTimestamp.After(before.Stamp) {
			return errors.New("the connector was reset in OpenCTI meanwhile, which counts; look at the state and repeat the command if it is still wanted")
		}
		if state.SameText(echo.State, text) {
			return d.verify(ctx, before, text)
		}
	}
	if last != nil {
		return fmt.Errorf("store the state in OpenCTI: %w", last)
	}
	return errors.New("OpenCTI does not say that it has stored the state; look at it with `state show`")
}

// verify looks until OpenCTI shows the state that was stored.
func (d *Desk) verify(ctx context.Context, before state.Held, text string) error {
	var last error
	for attempt := range looks {
		if attempt > 0 {
			if err := remote.Wait(ctx, pause); err != nil {
				return fmt.Errorf("look at the stored state in OpenCTI: %w", errors.Join(err, last))
			}
		}
		echo, err := d.Platform.ConnectorState(ctx)
		last = err
		switch {
		case err != nil && !opencti.IsTemporary(err):
			return fmt.Errorf("look at the stored state in OpenCTI: %w", d.explain(err))
		case err != nil:
		case state.SameText(echo.State, text):
			return nil
		case !state.SameText(echo.State, before.State):
			return errors.New("the state was stored, and somebody has stored another one since: the connector runs; stop it and repeat the command")
		}
	}
	if last != nil {
		return fmt.Errorf("look at the stored state in OpenCTI: %w", last)
	}
	return errors.New("the state was stored, and OpenCTI still shows the one before: a connector that runs has put it back, or its storage is far behind; look at it with `state show`")
}
