package main

import (
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
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _ = strconv.ParseFloat(strings.Fields(string(load) + " 0")[0], 64)
	}
	return m
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
