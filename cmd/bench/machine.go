package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/cmd/bench/process"
	"github.com/opencti-connectors/threatmatch/cmd/bench/report"
)

// thisMachine is what the measurement runs on. What the system does not tell is left out.
func thisMachine() report.Machine {
	m := report.Machine{CPU: "unknown processor", Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
	if name := after("/proc/cpuinfo", "model name"); name != "" {
		m.CPU = name
	}
	if kib, err := strconv.ParseFloat(strings.TrimSuffix(after("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		m.Memory = kib / (1 << 20)
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += " " + strings.TrimSpace(string(release))
	}
	return m
}

// load is what the processors did from a moment on.
type load struct {
	idle, all float64       // ticks, 0 where the system does not tell
	own       time.Duration // of this program and those that it started
	told      bool          // of own
}

// loadNow begins to look at the processors.
func loadNow() load {
	l := load{}
	l.idle, l.all = processorTicks()
	self, toldSelf := process.OwnCPU()
	children, toldChildren := process.ChildrenCPU()
	l.own, l.told = self+children, toldSelf && toldChildren
	return l
}

// others is how much of the processors' time until now, in percent, other programs had, nil where the system does not tell. Of what
// this one started, all must have ended: only then is it known what they took.
func (l load) others(now load) *float64 {
	if !l.told || !now.told || now.all <= l.all {
		return nil
	}
	all := now.all - l.all
	own := (now.own - l.own).Seconds() * ticksASecond
	return new(100 * max(0, all-(now.idle-l.idle)-own) / all)
}

// ticksASecond are the units of a processor's time in /proc/stat, on every Linux that Go runs on.
const ticksASecond = 100

// busyNow is how much of the processors other programs have for some seconds.
func busyNow(ctx context.Context) *float64 {
	const look = 2 * time.Second
	l := loadNow()
	select {
	case <-time.After(look):
	case <-ctx.Done():
	}
	return l.others(loadNow())
}

// processorTicks is the time of all processors since the system began, in units of its own.
func processorTicks() (idle, all float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	const fields = 8 // the later ones are parts of these
	for i, field := range strings.Fields(strings.TrimPrefix(line, "cpu ")) {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil || i >= fields {
			break
		}
		all += n
		if i == 3 || i == 4 { // idle, and waiting for a disk
			idle += n
		}
	}
	return idle, all
}

// after is what stands behind a name and a colon in a file of the system.
func after(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// brokerVersion asks a broker what it is.
func brokerVersion(url string) (string, error) {
	conn, err := amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(watchPatience)})
	if err != nil {
		return "", fmt.Errorf("ask RabbitMQ for its version: %w", err)
	}
	version, _ := conn.Properties["version"].(string)
	return version, conn.CloseDeadline(time.Now().Add(watchPatience))
}
