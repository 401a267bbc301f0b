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

// underWay is a connector whose backfill goes on and on, and is shown as that.
type underWay orders.Progress

func (u underWay) Backfill(context.Context, orders.Backfill) (orders.Progress, error) {
	return orders.Progress{Phase: orders.Running, From: time.Unix(0, 0)}, nil
}
func (u underWay) Cancel(context.Context) (orders.Progress, error) { return u.Progress(), nil }
func (u underWay) Progress() orders.Progress                       { return orders.Progress(u) }

// served lets a desk take orders, and returns the environment in which commands ask it.
func served(t *testing.T, desk orders.Desk) (env []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "orders") // a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	server, err := orders.Serve(dir, desk, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return configtest.Environ(map[string]string{"CONNECTOR_STATE_DIR": dir})
}

func TestStatusIsShownOnceWhereNobodyWatches(t *testing.T) {
	env := served(t, underWay{Phase: orders.Running, From: time.Unix(0, 0)})
	for _, args := range [][]string{{"--status"}, {"--status", "--json"}} {
		status, out, problems := run(t, env, append([]string{"backfill"}, args...)...)
		if status != exitOK || strings.Count(out, "running") != 1 || strings.Count(out, "\n") != 1 || problems != "" {
			t.Errorf("%q: status %d\n%s%s", args, status, out, problems)
		}
	}
}

// A script that waits for a backfill goes on as if it were done, else.
func TestAnOrderThatWaitsFailsUnlessAllOfItIsDone(t *testing.T) {
	begin := time.Unix(0, 0)
	for name, end := range map[string]struct {
		underWay
		status int
		says   string
	}{
		"done":    {underWay{Phase: orders.Done, From: begin}, exitOK, ""},
		"in part": {underWay{Phase: orders.Done, From: begin, Failure: "alerts: 3 is not to be had"}, exitRunFailed, "which the schedule tries again: alerts: 3 is not to be had"},
		"cancelled": {underWay{Phase: orders.Cancelled, From: begin, To: begin.Add(time.Hour)}, // what was left of it
			exitRunFailed, "cancelled before it was done; the same command orders it again"},
		"forgotten": {underWay{Phase: orders.None, From: begin}, exitRunFailed, "forgotten with the connector's state in OpenCTI; order it again"},
		"replaced":  {underWay{Phase: orders.Done, From: begin.Add(time.Hour)}, exitRunFailed, "another backfill was ordered in its place"},
	} {
		t.Run(name, func(t *testing.T) {
			env := served(t, end.underWay)
			for _, args := range [][]string{{"--from", "P1Y"}, {"--from", "P1Y", "--json"}} {
				status, out, problems := run(t, env, append([]string{"backfill"}, args...)...)
				if status != end.status || !strings.Contains(problems, end.says) || out == "" {
					t.Errorf("%q: status %d\n%s%s", args, status, out, problems)
				}
			}
			for _, args := range [][]string{{"--status"}, {"--cancel"}, {"--from", "P1Y", "--detach"}} {
				if status, out, problems := run(t, env, append([]string{"backfill"}, args...)...); status != exitOK {
					t.Errorf("%q: status %d\n%s%s", args, status, out, problems)
				}
			}
		})
	}
}

// What is wrong with an order itself is said before anybody is asked, and not as if it were the configuration's.
func TestAnOrderThatMakesNoSenseIsWrongUsage(t *testing.T) {
	for args, says := range map[string]string{
		"--from never":                             `--from: "never" must be`,
		"--from 86400":                             "--from: \"86400\" lacks a unit; 86400 seconds are PT86400S",
		"--from 2025-01-01 --to 2999-01-01":        `--to: "2999-01-01" lies in the future`,
		"--from 2025-01-01 --to 2024-01-01":        "the window ends before it begins: --to is 2024-01-01T00:00:00Z",
		"--from 2025-01-01 --dataset profile":      `"profile" is not one of profiles, alerts`,
		"--from 2025-01-01 --dataset iocs,rumours": `"rumours" is not one of`,
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
