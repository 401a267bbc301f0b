package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
)

// underWay is a connector whose backfill goes on and on.
type underWay struct{}

func (underWay) Backfill(context.Context, orders.Backfill) (orders.Progress, error) {
	return underWay{}.Progress(), nil
}
func (underWay) Cancel(context.Context) (orders.Progress, error) { return underWay{}.Progress(), nil }
func (underWay) Progress() orders.Progress {
	return orders.Progress{Phase: orders.Running, From: time.Unix(0, 0)}
}

func TestStatusIsShownOnceWhereNobodyWatches(t *testing.T) {
	dir, err := os.MkdirTemp("", "orders") // a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	server, err := orders.Serve(dir, underWay{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	env := configtest.Environ(map[string]string{"CONNECTOR_STATE_DIR": dir})
	for _, args := range [][]string{{"--status"}, {"--status", "--json"}} {
		status, out, problems := run(t, env, append([]string{"backfill"}, args...)...)
		if status != exitOK || strings.Count(out, "running") != 1 || strings.Count(out, "\n") != 1 || problems != "" {
			t.Errorf("%q: status %d\n%s%s", args, status, out, problems)
		}
	}
}

// What is wrong with an order itself is said before anybody is asked, and not as if it were the configuration's.
func TestAnOrderThatMakesNoSenseIsWrongUsage(t *testing.T) {
	for args, says := range map[string]string{
		"--from never":                             `--from: "never" must be`,
		"--from 2025-01-01T00:00:00":               "--from: \"2025-01-01T00:00:00\" lacks a time zone; write 2025-01-01T00:00:00Z",
		"--from 2025-01-01 --to 2999-01-01":        `--to: "2999-01-01" lies in the future`,
		"--from 2025-01-01 --to 2024-01-01":        "the window ends before it begins: --to is 2024-01-01T00:00:00Z",
		"--from 2025-01-01 --dataset profile":      `must be one of "profiles"`,
		"--from 2025-01-01 --dataset iocs,rumours": `but got "rumours"`,
		"--status --to 2024-01-01":                 "--from",
		"--cancel --detach":                        "--from",
		"":                                         "--from",
	} {
		status, out, problems := run(t, configtest.Environ(nil), append([]string{"backfill"}, strings.Fields(args)...)...)
		if status != exitUsage || !strings.Contains(problems, says) || strings.Contains(problems, "configuration") {
			t.Errorf("backfill %s: status %d\n%s%s", args, status, out, problems)
		}
	}
}
