package config

import (
	"slices"
	"syscall"
)

// isTheSystems says that a folder is of a file system in which nobody can make files, although it does not refuse the superuser
// before one tries.
func isTheSystems(dir string) bool {
	const proc, sysfs, cgroup, cgroup2, devpts = 0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x1cd1
	var s syscall.Statfs_t
	return syscall.Statfs(dir, &s) == nil && slices.Contains([]int64{proc, sysfs, cgroup, cgroup2, devpts}, int64(s.Type))
}
