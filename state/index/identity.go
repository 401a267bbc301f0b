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
	// Destination is where what is delivered goes, in words, "" for OpenCTI's queue alone.
	Destination string `json:"destination,omitempty"`
}

// NeverBefore is the [Opening.Reason] of an index in a folder that held none.
const NeverBefore = "there was none"

const (
	identityFile = "index.json"
	// layout is the version of the files; another one is another index.
	layout = 4
)

// names are what the records of a folder and the folder itself go by.
type names struct {
	ID      uuid.UUID `json:"id"`                // see [Index.ID]
	Folder  uuid.UUID `json:"folder"`            // see [Index.Folder]
	Counter uint64    `json:"commits,omitempty"` // see [Index.Counter]
	// WaitingLost is why objects that waited were lost, until the state says so: until the next commit is counted.
	WaitingLost string `json:"waiting_lost,omitempty"`
}

type identityText struct {
	Layout int `json:"layout"`
	names
	Identity
}

// writeIdentity makes the files in a folder those of an index.
func writeIdentity(dir string, n names, identity Identity) error {
	text, err := json.MarshalIndent(identityText{layout, n, identity}, "", "  ")
	if err != nil {
		return fmt.Errorf("write index identity: %w", err)
	}
	return replaceFile(filepath.Join(dir, identityFile), text)
}

// readIdentity returns what the index in a folder goes by, and why it is not the one that is wanted, "" where it is. One of
// the same connector and platform keeps the name of the folder and the counter even then.
func readIdentity(dir string, want Identity) (n names, reason string) {
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return n, NeverBefore
	}
	if err != nil {
		return n, fmt.Sprintf("its identity cannot be read: %v", err)
	}
	var found identityText
	if err := json.Unmarshal(text, &found); err != nil {
		return n, fmt.Sprintf("its identity is damaged: %v", err)
	}
	if found.Connector == want.Connector && found.Platform == want.Platform {
		n = found.names
	}
	return n, found.differs(want)
}

// Counted returns what the folder of an index is called and how many commits it has counted, see [Index.Folder] and
// [Index.Counter], without opening it. It reports false where that cannot be read.
func Counted(dir string) (folder string, commits uint64, ok bool) {
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	var found identityText
	if err != nil || json.Unmarshal(text, &found) != nil || found.Folder == uuid.Nil {
		return "", 0, false
	}
	return found.Folder.String(), found.Counter, true
}

func (t identityText) differs(want Identity) string {
	switch {
	case t.ID == uuid.Nil || t.Folder == uuid.Nil:
		return "its identity is damaged: it has no name"
	case t.Layout != layout:
		return fmt.Sprintf("its files have layout %d, this version writes %d", t.Layout, layout)
	case t.Connector != want.Connector:
		return fmt.Sprintf("it belongs to connector %q, this is %q", t.Connector, want.Connector)
	case t.Platform != want.Platform:
		return fmt.Sprintf("it belongs to platform %q, this is %q", t.Platform, want.Platform)
	case t.Mapping != want.Mapping:
		return fmt.Sprintf("it was made with mapping %q, now it is %q", t.Mapping, want.Mapping)
	case t.Destination != want.Destination:
		return fmt.Sprintf("what it knows went to %s, now all goes to %s", t.place(), want.place())
	}
	return ""
}

func (i Identity) place() string {
	if i.Destination == "" {
		return "OpenCTI's queue"
	}
	return i.Destination
}
