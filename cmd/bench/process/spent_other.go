//go:build !unix

package process

import "time"

// OwnCPU is what this system does not tell.
func OwnCPU() (time.Duration, bool) { return 0, false }

// ChildrenCPU is what this system does not tell.
func ChildrenCPU() (time.Duration, bool) { return 0, false }
