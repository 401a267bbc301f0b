package rabbitmqtest

import (
	"os/exec"
	"syscall"
)

// setAttributes keeps an interrupt typed at the terminal from the child, which is ended in good order, and ends it when
// this program dies without doing so: a panicking test would otherwise leave a RabbitMQ behind.
func setAttributes(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
