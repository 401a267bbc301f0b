package orders

import (
	"fmt"
	"os"
	"path/filepath"
)

// socketName is the file in the state folder over which the connector takes orders.
const socketName = "control.sock"

// longestPath is how long the path of a socket may be on every system, in bytes.
const longestPath = 100

func socketIn(dir string) string { return filepath.Join(dir, socketName) }

// reach calls do with a path of the socket in a folder by which the system takes it. Where the folder's own is too long, and the
// system shows the files that a process has open (Linux does), that leads through the open folder; it holds until do returns.
func reach(dir string, do func(path string) error) error {
	path := socketIn(dir)
	if len(path) <= longestPath {
		return do(path)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	through := fmt.Sprintf("/proc/self/fd/%d", folder.Fd())
	if shown, err := os.Stat(through); err == nil && shown.IsDir() {
		path = socketIn(through)
	}
	return do(path)
}
