package progresstest

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// Terminal is a pseudo terminal. Its File is what a program gets as its standard error.
type Terminal struct {
	*os.File

	keyboard *os.File // the other end
	screen   *screen
	read     chan struct{} // closed when nothing comes any more
	hangUp   sync.Once
}

// New opens a terminal of that size until the end of the test. One of size 0 says so, and has a screen all the same.
func New(t testing.TB, columns, rows int) *Terminal {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	var number, unlocked uint32
	size := [4]uint16{uint16(rows), uint16(columns)}
	control(t, keyboard, syscall.TIOCSPTLCK, unsafe.Pointer(&unlocked))
	control(t, keyboard, syscall.TIOCGPTN, unsafe.Pointer(&number))
	control(t, keyboard, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
	file, err := os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	terminal := &Terminal{File: file, keyboard: keyboard, screen: &screen{height: cmp.Or(rows, 24)}, read: make(chan struct{})}
	go func() {
		defer close(terminal.read)
		terminal.screen.readFrom(keyboard)
	}()
	t.Cleanup(terminal.HangUp)
	return terminal
}

func control(t testing.TB, f *os.File, request uintptr, argument unsafe.Pointer) {
	t.Helper()
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed syscall.Errno
	err = conn.Control(func(fd uintptr) { _, _, failed = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(argument)) })
	if err != nil || failed != 0 {
		t.Fatal(err, failed)
	}
}

// HangUp takes the terminal away, as the end of an SSH session does: who has its File open gets an error from then on.
func (t *Terminal) HangUp() {
	t.hangUp.Do(func() {
		_ = t.keyboard.Close()
		<-t.read
	})
}

// Until waits until something stands on the screen, or has left it at the top. The test fails when it does not come.
func (t *Terminal) Until(test testing.TB, text string) {
	test.Helper()
	there := func(lines []string) bool { return strings.Contains(strings.Join(lines, "\n"), text) }
	if lines := t.screen.until(there); !there(lines) {
		test.Fatalf("%q does not come; on the screen stands %q", text, lines)
	}
}

// Lines closes the File and returns what stands on the screen then, with what has left it at the top.
func (t *Terminal) Lines() []string {
	_ = t.Close()
	return t.screen.until(func([]string) bool { return false })
}
