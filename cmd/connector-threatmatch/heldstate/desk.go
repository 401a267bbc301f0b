// Package heldstate shows, and changes at an operator's word, the connector's state as OpenCTI holds it.
//
// A connector that runs stores its own state every 40 seconds, so a change is for one that is stopped; a reset is OpenCTI's own
// matter and reaches one that runs. What is to change is shown before it is asked for, and what OpenCTI then holds is looked at.
package heldstate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/state"
)

// Desk is where an operator works on the state of one connector.
type Desk struct {
	Platform    *opencti.Client
	ConnectorID string
	// Datasets names what is imported, ImportFrom is where a dataset begins that never was.
	Datasets   []string
	ImportFrom time.Time
	// StateDir is the folder of the index of delivered objects. It need not be there.
	StateDir string
	// Ask asks the operator a question and returns the answer; nil where nobody can be asked.
	Ask func(question string) (answer string, err error)
	// Yes answers every question.
	Yes bool
	// Force changes the state though OpenCTI takes the connector for one that runs.
	Force bool
	// JSON writes results for programs to Out, and what is for people to Words.
	JSON bool
	// Out takes what was asked for.
	Out, Words io.Writer
}

// Refusal is something that was asked for in a way that cannot be obeyed; the program ends with status 2.
type Refusal struct{ reason string }

func (r *Refusal) Error() string { return r.reason }

// ExitCode is that of wrong usage.
func (r *Refusal) ExitCode() int { return 2 }

// holding is what OpenCTI tells of a connector.
type holding struct {
	state.Held
	opencti.Presence
}

// look asks OpenCTI for the state and for the connector.
func (d *Desk) look(ctx context.Context) (holding, error) {
	echo, err := d.Platform.ConnectorState(ctx)
	if err != nil {
		return holding{}, d.explain(err)
	}
	presence, err := d.Platform.Presence(ctx)
	if err != nil {
		return holding{}, d.explain(err)
	}
	return holding{state.Held{State: echo.State, Stamp: echo.StateTimestamp}, presence}, nil
}

// explain adds to an error what the operator can do.
func (d *Desk) explain(err error) error {
	if errors.Is(err, opencti.ErrConnectorGone) {
		return fmt.Errorf("OpenCTI knows no connector %s; check CONNECTOR_ID, or start the connector once: %w", d.ConnectorID, err)
	}
	return err
}

// say writes a line for people.
func (d *Desk) say(format string, args ...any) {
	fmt.Fprintf(d.words(), format+"\n", args...)
}

func (d *Desk) words() io.Writer {
	if d.JSON {
		return d.Words
	}
	return d.Out
}

// report writes a result for programs.
func (d *Desk) report(result any) error {
	if !d.JSON {
		return nil
	}
	encoder := json.NewEncoder(d.Out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}

// raw is a state as it stands in a result: as it is, null for none, and as a text where it is no JSON.
func raw(text string) json.RawMessage {
	switch {
	case state.SameText(text, ""):
		return json.RawMessage("null")
	case json.Valid([]byte(text)):
		return json.RawMessage(text)
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		panic("marshal text: " + err.Error()) // cannot happen
	}
	return quoted
}
