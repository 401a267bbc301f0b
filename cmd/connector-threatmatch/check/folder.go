package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// answerLimit is how long a connector on this machine may take for an answer.
const answerLimit = 5 * time.Second

// Room on the disk: with less than the first what waits for other objects is soon lost, with less than the second in a large
// import, where up to 512 MiB may wait.
const (
	leastRoom = 64 << 20
	easyRoom  = 1 << 30
)

func (c *checker) folder(ctx context.Context) *part {
	p := &part{name: partFolder}
	dir := c.cfg.Connector.StateDir
	p.must(ctx, "access", func(context.Context) (string, string, error) { return access(dir) })
	p.try(ctx, "free space", func(context.Context) (string, string, error) { return freeSpace(dir, "CONNECTOR_STATE_DIR") })
	p.try(ctx, "index", func(ctx context.Context) (string, string, error) {
		return lookAtIndex(ctx, dir, connector.Identity(c.cfg))
	})
	return p
}

// existing is the folder, or the nearest above it that exists.
func existing(dir string) (string, fs.FileInfo, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	for {
		info, err := os.Stat(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return dir, info, err
		}
		dir = filepath.Dir(dir)
	}
}

// access tells whether the folder can be written to, or made, without writing to it.
func access(dir string) (string, string, error) {
	remedy := fmt.Sprintf("give CONNECTOR_STATE_DIR a folder that the connector's user (uid %d) may write to; "+
		"until then each restart begins its pass again", os.Geteuid())
	there, info, err := existing(dir)
	switch {
	case err != nil:
		return "", "", wrong(remedy, "%s cannot be used: %v", dir, err)
	case !info.IsDir():
		return "", "", wrong(remedy, "%s is not a folder", there)
	}
	if err := mayWrite(there); err != nil {
		return "", "", wrong(remedy, "%s cannot be written to: %v", there, err)
	}
	if abs, err := filepath.Abs(dir); err == nil && abs != there {
		return dir + " is made at the first start", "", nil
	}
	return dir + " can be written to", "", nil
}

// freeSpace tells how much can be written to the disk of a folder, which a setting names.
func freeSpace(dir, setting string) (string, string, error) {
	there, _, err := existing(dir)
	if err != nil {
		return "", "", err
	}
	free, known, err := room(there)
	if !known || err != nil {
		return "", "", &unseen{why: "not known on this system"}
	}
	remedy := "make room, or give " + setting + " another disk"
	seen := fmt.Sprintf("%.1f GiB", float64(free)/(1<<30))
	switch {
	case free < leastRoom:
		return "", "", wrong(remedy, "%d MiB only", free>>20)
	case free < easyRoom:
		return seen, "little for a large import: " + remedy, nil
	}
	return seen, "", nil
}

func lookAtIndex(ctx context.Context, dir string, identity index.Identity) (string, string, error) {
	found, err := index.Look(ctx, dir, identity)
	if err != nil {
		return "", "", wrong("see whether the connector's user may read CONNECTOR_STATE_DIR", "%v", err)
	}
	if isLocked(index.LockFile(dir)) {
		if !found.Fresh && takesOrders(ctx, dir) {
			return "in use by the connector that runs here (" + found.Holder + ")", "", nil
		}
		return "in use by " + found.Holder, "a connector runs with this CONNECTOR_STATE_DIR: a second one needs its own", nil
	}
	switch {
	case found.Fresh && found.Reason == index.NeverBefore:
		return "none yet: the first run begins it", "", nil
	case found.Fresh:
		return "the next start begins an empty one: " + found.Reason, "some objects are sent again then; if you did not mean that, see what was changed", nil
	}
	return "holds " + words.Counted(found.Entries, "delivered object"), "", nil
}

// takesOrders reports whether a connector answers over the socket in its folder.
func takesOrders(ctx context.Context, dir string) bool {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	c := orders.NewClient(dir)
	defer c.Close()
	_, err := c.Progress(ctx)
	return err == nil
}
