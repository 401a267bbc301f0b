package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/progress/progresstest"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status"
)

func TestLinesStayAboveThePictureOfABackfill(t *testing.T) {
	cfg, _, err := config.Load("config.yml", false, configtest.Environ(nil))
	if err != nil {
		t.Fatal(err)
	}
	terminal := progresstest.New(t, 80, 24)
	shown, stderr := backfillCommand{}.watcher(console{stdout: io.Discard, stderr: terminal.File})
	log := status.NewLogger(cfg, stderr)
	for _, phase := range []orders.Phase{orders.Waiting, orders.Running} {
		shown.Show(orders.Progress{Phase: phase})
		terminal.Until(t, ": "+string(phase))
		log.Error("while it is " + string(phase))
	}
	shown.Close()
	lines := terminal.Lines()
	said := func(text string) func(string) bool {
		return func(line string) bool { return strings.Contains(line, text) }
	}
	picture := slices.IndexFunc(lines, said(": running"))
	for _, phase := range []string{"waiting", "running"} {
		if at := slices.IndexFunc(lines, said("while it is "+phase)); at < 0 || at > picture {
			t.Errorf("on the screen stands %q", lines)
		}
	}
}
