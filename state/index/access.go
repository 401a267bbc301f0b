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
	files, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	// The folder first, then what was in reach until now.
	exposed = narrow(dir, func(info fs.FileInfo) string {
		shared := info.Mode()&fs.ModeSticky != 0
		for _, f := range files {
			shared = shared || f.IsDir() && f.Name() != "lost+found"
		}
		if shared {
			return "it holds more than the index, so its mode stays"
		}
		return ""
	})
	for _, f := range files {
		if isOurs(f.Name()) {
			exposed = cmp.Or(exposed, narrow(filepath.Join(dir, f.Name()), func(fs.FileInfo) string { return "" }))
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

// narrow says why a file stays open to others, "" where it does not.
func narrow(path string, why func(fs.FileInfo) string) string {
	const others = 0o077
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink != 0 || !hasOwner(info) || info.Mode()&others == 0 {
		return ""
	}
	reason := why(info)
	if reason == "" && !isOwn(info) {
		reason = "it belongs to another user"
	}
	if reason == "" {
		err := os.Chmod(path, info.Mode()&^others)
		if err == nil {
			return ""
		}
		reason = err.Error()
	}
	return fmt.Sprintf("%s has mode %04o: %s", path, info.Mode().Perm(), reason)
}
