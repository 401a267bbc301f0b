//go:build unix && !solaris && !aix

package index

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock of an open file for the process and says whether it was free; it is released when the file is
// closed, by a kill too.
func tryLock(f *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		default:
			return err == nil, err
		}
	}
}
