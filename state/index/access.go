package index

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// closeToOthers takes from a folder and the files of an index in it the modes that let others read them: an earlier version, or
// whoever made the folder, was more generous. It says what could not be closed, "" where nothing is open.
func closeToOthers(dir string) (exposed string) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return ""
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	info, err := os.Stat(dir)
	shared := err == nil && info.Mode()&fs.ModeSticky != 0
	for _, f := range files {
		shared = shared || f.IsDir() && f.Name() != "lost+found"
	}
	// The folder first, then what was in reach until now.
	exposed = narrow(dir, shared)
	for _, f := range files {
		if isOurs(f.Name()) {
			exposed = cmp.Or(exposed, narrow(filepath.Join(dir, f.Name()), false))
		}
	}
	return exposed
}

// isOurs tells the files of an index by their names.
func isOurs(name string) bool {
	name = strings.TrimSuffix(name, tmpSuffix)
	_, _, isTable := parseTableName(name)
	return isTable || name == identityFile || name == waitingFile || name == lockFile
}

// narrow says why a file stays open to others, "" where it does not. That of others stays as it is.
func narrow(path string, shared bool) string {
	const others = 0o077
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink != 0 || !hasOwner(info) || info.Mode()&others == 0 {
		return ""
	}
	var reason string
	switch {
	case shared:
		reason = "it holds more than the index, so its mode stays"
	case !isOwn(info):
		reason = "it belongs to another user"
	default:
		err := os.Chmod(path, info.Mode()&^others)
		if err == nil {
			return ""
		}
		reason = err.Error()
	}
	return fmt.Sprintf("%s has mode %04o: %s", path, info.Mode().Perm(), reason)
}
