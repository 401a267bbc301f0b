//go:build unix && !solaris && !aix

package config

import "syscall"

// mayWrite asks the system whether this process may make files in a folder.
func mayWrite(dir string) error {
	const write, search = 2, 1 // W_OK and X_OK
	return syscall.Access(dir, write|search)
}
