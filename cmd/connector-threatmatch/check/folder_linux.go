package check

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// room is how many bytes this user can still write to the disk of a folder.
func room(dir string) (free uint64, known bool, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false, err
	}
	return s.Bavail * uint64(s.Bsize), true, nil
}

// isLocked reports whether a process holds a lock on a file, by the system's list of them: to try the lock would keep a connector
// that starts at that moment from having it. Processes of other containers are not seen.
func isLocked(path string) bool {
	var s syscall.Stat_t
	if syscall.Stat(path, &s) != nil {
		return false
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return false
	}
	defer locks.Close()
	// A line reads "1: FLOCK  ADVISORY  WRITE 708 08:01:1234 0 EOF", with the device's numbers in hexadecimal. Some file
	// systems show another device there than to stat, so it is the number of the file that counts.
	file := fmt.Sprintf(":%d", s.Ino)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 6 && fields[1] == "FLOCK" && strings.HasSuffix(fields[5], file) {
			return true
		}
	}
	return false
}
