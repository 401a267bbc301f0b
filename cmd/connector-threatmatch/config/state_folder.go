package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// StateDirWarnings says that nothing can be written to CONNECTOR_STATE_DIR, and what to do about it. [Load] does not: the
// connector finds it out by itself, later, and says so. Nothing is written, and no folder made: it may be another user who asks.
func StateDirWarnings(c Config) []Warning {
	dir := c.Connector.StateDir
	if dir == "" {
		return nil
	}
	err := canHoldFiles(dir)
	if err == nil {
		return nil
	}
	return []Warning{Warning(fmt.Sprintf("CONNECTOR_STATE_DIR (%s) cannot be used: %v; what was delivered is then remembered only until "+
		"the connector stops: give it a folder that the connector's user may write to", dir, err))}
}

// canHoldFiles looks at a folder or, where it does not exist yet, at the one that it would be made in.
func canHoldFiles(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case err == nil && !info.IsDir():
			return fmt.Errorf("%s is no folder", at)
		case err == nil && isTheSystems(at):
			return fmt.Errorf("%s shows the system's own affairs, and takes no files", at)
		case err == nil && at == dir:
			return mayWrite(at)
		case err == nil:
			if err := mayWrite(at); err != nil {
				return fmt.Errorf("it does not exist, and cannot be made in %s: %w", at, err)
			}
			return nil
		case at == filepath.Dir(at) || errors.Is(err, os.ErrPermission):
			return errors.New(reasonOf(err))
		}
	}
}
