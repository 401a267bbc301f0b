//go:build unix && !solaris && !aix

package index

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock of an open file for the process; it is released when the file is closed, by a kill too.
func tryLock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrHeld
		default:
			return err
		}
	}
}
