package main

import (
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

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
