//go:build !linux

package exposition

// AddProcess adds nothing: what other systems know of a process is not asked for.
func (r *Registry) AddProcess() {}
