package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// Identity is what an index belongs to. What was sent by one connector, to one platform, in one way, says nothing about
// another.
type Identity struct {
	Connector string `json:"connector"` // id of the connector
	Platform  string `json:"platform"`  // id or URL of the platform
	Mapping   string `json:"mapping"`   // the settings and the version that decide what an object looks like
}

// NeverBefore is the [Opening.Reason] of an index in a folder that held none.
const NeverBefore = "there was none"

const (
	identityFile = "index.json"
	// layout is the version of the files; another one is another index.
	layout = 2
)

type identityText struct {
	Layout int    `json:"layout"`
	ID     string `json:"id"`
	Runs   uint64 `json:"runs,omitempty"` // see [Index.Counter]
	Identity
}

// writeIdentity makes the files in a folder those of an index.
func writeIdentity(dir string, id uuid.UUID, runs uint64, identity Identity) error {
	text, err := json.MarshalIndent(identityText{layout, id.String(), runs, identity}, "", "  ")
	if err != nil {
		return fmt.Errorf("write index identity: %w", err)
	}
	return replaceFile(filepath.Join(dir, identityFile), text)
}

// readIdentity returns the id and the counter of the index in a folder, or why there is none that is wanted.
func readIdentity(dir string, want Identity) (id uuid.UUID, runs uint64, reason string) {
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return id, 0, NeverBefore
	}
	if err != nil {
		return id, 0, fmt.Sprintf("its identity cannot be read: %v", err)
	}
	var found identityText
	if err = json.Unmarshal(text, &found); err == nil {
		if reason := found.differs(want); reason != "" {
			return id, 0, reason
		}
		id, err = uuid.Parse(found.ID)
	}
	if err != nil {
		return id, 0, fmt.Sprintf("its identity is damaged: %v", err)
	}
	return id, found.Runs, ""
}

func (t identityText) differs(want Identity) string {
	switch {
	case t.Layout != layout:
		return fmt.Sprintf("its files have layout %d, this version writes %d", t.Layout, layout)
	case t.Connector != want.Connector:
		return fmt.Sprintf("it belongs to connector %q, this is %q", t.Connector, want.Connector)
	case t.Platform != want.Platform:
		return fmt.Sprintf("it belongs to platform %q, this is %q", t.Platform, want.Platform)
	case t.Mapping != want.Mapping:
		return fmt.Sprintf("it was made with mapping %q, now it is %q", t.Mapping, want.Mapping)
	}
	return ""
}
