//go:build unix && !solaris && !aix

package check

import "syscall"

// mayWrite asks the system whether this user may make files in a folder.
func mayWrite(dir string) error {
	const writeAndEnter = 2 | 1
	return syscall.Access(dir, writeAndEnter)
}
