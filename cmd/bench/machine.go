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

// busy is how much of the processors, in percent, is taken for some seconds, in which this program does nothing. It is 0 where the
// system does not tell.
func busy(ctx context.Context) float64 {
	const look = 2 * time.Second
	idleBefore, allBefore := processorTicks()
	select {
	case <-time.After(look):
	case <-ctx.Done():
	}
	idle, all := processorTicks()
	if all <= allBefore {
		return 0
	}
	return 100 * (1 - (idle-idleBefore)/(all-allBefore))
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
