package process

import (
	"os/exec"
	"syscall"
)

// attach keeps an interrupt typed at the terminal from the child, which is ended in good order, and ends it when this program dies
// without doing so.
func attach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
