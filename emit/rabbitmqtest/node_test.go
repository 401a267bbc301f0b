package rabbitmqtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAMissingServerIsNamedWithWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := filepath.Join(t.TempDir(), "node")
	_, err := StartNode(t.Context(), dir)
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "apt-get install rabbitmq-server") {
		t.Errorf("StartNode: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a folder was made for nothing")
	}
}

// script is a server that only shows how it is treated.
func script(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+lines), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAProcessThatEndsByItselfIsReportedWithItsLastWords(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := startProcess(script(t, "echo no luck: eaddrinuse; exit 3\n"), nil, os.Environ(), log)
	if err != nil {
		t.Fatal(err)
	}
	err = p.listens(t.Context(), "127.0.0.1:1")
	if err == nil || !errors.Is(err, errPortTaken) || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("listens: %v", err)
	}
	if p.running() {
		t.Error("still running")
	}
}

func TestAProcessThatDoesNotEndWhenAskedIsKilled(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	p, err := startProcess(script(t, "trap '' TERM\n: > '"+ready+"'\nwhile :; do sleep 1; done\n"), nil, os.Environ(), filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		if time.Since(began) > patience {
			t.Fatal("the process does not come up")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.terminate(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("terminate: %v", err)
	}
	if p.running() {
		t.Error("still running")
	}
	if err := errors.Join(p.terminate(ctx), p.kill()); err != nil {
		t.Errorf("ending it again: %v", err)
	}
}

func TestTheNodeSeesNothingOfTheCallersRabbitMQ(t *testing.T) {
	t.Setenv("RABBITMQ_NODENAME", "theirs")
	t.Setenv("ERL_FLAGS", "-name theirs")
	n := &Node{dir: t.TempDir()}
	for _, setting := range n.environment() {
		if strings.Contains(setting, "theirs") {
			t.Error(setting)
		}
	}
}
