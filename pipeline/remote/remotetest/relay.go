package remotetest

import (
	"io"
	"net"
	"testing"
)

// Relay passes what arrives at a listener on to an address, and back, until the test ends. It returns the listener's address.
func Relay(t *testing.T, l net.Listener, to string) string {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go func() { _, _ = io.Copy(far, near); far.Close() }()
			go func() { _, _ = io.Copy(near, far); near.Close() }()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}
