//go:build unix

package process

import (
	"syscall"
	"time"
)

// OwnCPU is the processor time that this program took so far, and whether the system tells.
func OwnCPU() (time.Duration, bool) { return usage(syscall.RUSAGE_SELF) }

// ChildrenCPU is the processor time that the programs took which this one started and which have ended, and whether the system tells.
// What these started themselves, and waited for, is in it.
func ChildrenCPU() (time.Duration, bool) { return usage(syscall.RUSAGE_CHILDREN) }

func usage(who int) (time.Duration, bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
