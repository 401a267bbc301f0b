package heldstate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencti-connectors/threatmatch/state"
)

// maxExport bounds what is read of a file: a state has some 100 kB at most.
const maxExport = 4 << 20

// Export writes the state as OpenCTI holds it, and nothing else, to a new file that only its owner may read, or with no path to Out.
// It fails where there is no state or the file exists.
func (d *Desk) Export(ctx context.Context, path string) error {
	echo, err := d.Platform.ConnectorState(ctx)
	if err != nil {
		return d.explain(err)
	}
	if state.SameText(echo.State, "") {
		return errors.New("OpenCTI holds no state of the connector; there is nothing to export")
	}
	if path == "" {
		if _, err := io.WriteString(d.Out, echo.State); err != nil {
			return fmt.Errorf("write the state: %w", err)
		}
		return nil
	}
	return writeNew(path, echo.State)
}

// writeNew writes a file that does not exist. It leaves none behind that is not whole.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &Refusal{fmt.Sprintf("%s exists and is not overwritten; name another file", path)}
	}
	if err != nil {
		return fmt.Errorf("export the state: %w", err)
	}
	_, err = io.WriteString(f, text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("export the state: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// Import stores the state that a file holds.
func (d *Desk) Import(ctx context.Context, path string) error {
	text, err := readExport(path)
	if err != nil {
		return err
	}
	return d.change(ctx,
		func(held state.Held) (state.Change, error) {
			change, err := state.Import(held, text, d.Datasets)
			if err != nil {
				err = fmt.Errorf("import %s: %w", path, err)
			}
			return change, err
		},
		func(c state.Change) {
			d.compare(c)
			d.say("")
			if c.Foreign {
				d.say("The file was written for another index of delivered objects, or before a reset: passes under\nway begin again, and so do the runs whose works OpenCTI had not imported by then.")
			}
			if len(c.Forgotten) > 0 {
				d.say("There are too many works; these are not looked at any more: %s.", list(c.Forgotten))
			}
			if c.After.Index != "" {
				d.say("The next run goes on from where the file says. Objects delivered already are not sent again.")
			}
			d.tellOfIndex(c)
		})
}

func readExport(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("import a state: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxExport+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("import a state: %w", err)
	case len(text) > maxExport:
		return "", fmt.Errorf("import a state: %s is larger than any state", path)
	}
	return string(text), nil
}
