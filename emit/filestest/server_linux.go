package filestest

import (
	"os/exec"
	"syscall"
)

// setAttributes ends the program when this one dies without doing so: a panicking test would otherwise leave it behind.
func setAttributes(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
