//go:build unix

package index

import (
	"io/fs"
	"os"
	"syscall"
)

// hasOwner says that the modes of a file mean something on its system.
func hasOwner(info fs.FileInfo) bool { _, ok := info.Sys().(*syscall.Stat_t); return ok }

// isOwn says that a file belongs to the user of the process.
func isOwn(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
