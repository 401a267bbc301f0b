//go:build !unix || solaris || aix

package check

// mayWrite cannot be told here without writing.
func mayWrite(string) error { return nil }
