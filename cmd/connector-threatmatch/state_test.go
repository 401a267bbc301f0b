package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/state"
)

const heldText = `{"last_run":"2025-04-17T15:24:00+00:00","datasets":{"alerts":{"since":"2025-04-10T00:00:00Z","pass":{"started":"2025-04-17T15:24:00Z","after":"1234"},"failed":["17"],"gone":["18"]},` +
	`"profiles":{"since":"2025-04-17T15:24:00Z"}},"index":"the-index","folder":"the-folder","beginning":"2025-04-01T00:00:00Z","commits":41,` +
	`"works":[{"id":"work_7","run":7,"opened":"2025-04-17T15:25:00Z","open":true,"from":{"datasets":{"profiles":{"since":"2025-04-16T00:00:00Z"}}}}],"doubted":[3],"version":1,"note":"of somebody"}`

// heldRig is a platform that holds the state of a connector which was stopped an hour ago.
type heldRig struct {
	*testing.T
	platform *openctitest.Platform
	env      []string
}

func newHeldRig(t *testing.T, cfg openctitest.Config, text string) *heldRig {
	t.Helper()
	cfg.Token = configtest.Token
	p, err := openctitest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	client, err := opencti.New(opencti.Config{URL: server.URL, Token: configtest.Token, ConnectorID: configtest.ConnectorID})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if _, err := client.Register(t.Context(), opencti.Registration{Name: "ThreatMatch", Scope: []string{"threatmatch"}}); err != nil {
		t.Fatal(err)
	}
	if text != "" {
		if _, err := client.StoreState(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	p.LastHeard(time.Hour)
	return &heldRig{t, p, configtest.Environ(map[string]string{"OPENCTI_URL": server.URL, "THREATMATCH_IMPORT_REPORTS": "false"})}
}

// run runs a command and wants a status.
func (r *heldRig) run(want int, args ...string) (stdout, stderr string) {
	r.Helper()
	var out, problems bytes.Buffer
	status := execute(context.Background(), append([]string{"state"}, args...), console{&out, &problems, r.env})
	if status != want {
		r.Fatalf("%q ends with status %d\n%s\n%s", args, status, out.String(), problems.String())
	}
	if strings.Contains(out.String()+problems.String(), "nobody-may-see") {
		r.Errorf("%q shows a secret", args)
	}
	if !slices.Contains(args, "--json") && args[0] != "export" {
		for line := range strings.Lines(out.String()) {
			if len(line) > 100 {
				r.Errorf("a line of %d columns: %s", len(line), line)
			}
		}
	}
	return out.String(), problems.String()
}

func (r *heldRig) expect(text string, wants ...string) {
	r.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			r.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestStateShowTellsWhereEverythingIs(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, heldText)
	out, _ := r.run(0, "show")
	r.expect(out, configtest.ConnectorID, "not active", "60 min ago", "folder the-folder, as commit 41", "index the-index", "complete until  2025-04-17 15:24:00Z",
		"alerts    2025-04-10 00:00:00Z  of 2025-04-17 15:24:00Z  1       1", "alerts: the pass is after 1234", "tried again by each run: 17", "not found: 18",
		"iocs      ", "never imported", "work_7  7    2025-04-17 15:25:00Z  open", "sent again as it comes: [3]", "others' members note")
	if n := len(r.platform.Pings()); n != 1 {
		t.Errorf("%d pings", n)
	}
	out, _ = r.run(0, "show", "--json")
	var shown struct {
		Active bool
		State  json.RawMessage
		Seen   time.Time `json:"last_seen"`
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Active || shown.Seen.IsZero() {
		t.Errorf("%v: %s", err, out)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, shown.State); err != nil || compact.String() != heldText {
		t.Errorf("%v: %s", err, compact.String())
	}
}

// backfilledText is heldText with a backfill of which the alerts are read halfway.
var backfilledText = strings.Replace(strings.Replace(heldText, `"index":`, `"backfill":{"alerts":{"since":"2024-01-01T00:00:00Z","until":"2025-04-01T00:00:00Z","pass":{"started":"2025-04-17T16:00:00Z","after":"77"},"failed":["5"],"from":"2024-01-01T00:00:00Z","order":3},`+
	`"iocs":{"since":"2024-01-01T00:00:00Z","until":"2025-04-01T00:00:00Z","from":"2024-01-01T00:00:00Z","order":3}},"index":`, 1), `"beginning":"2025-04-01T00:00:00Z"`, `"beginning":"2024-01-01T00:00:00Z"`, 1)

func TestStateShowTellsOfABackfill(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, backfilledText)
	out, _ := r.run(0, "show")
	r.expect(out, "imported since  2024-01-01 00:00:00Z, the backfill under way included\n",
		"Backfill under way, beside the schedule:\nDATASET  READ FROM             TO                    PASS UNDER WAY           FAILED  GONE\n",
		"alerts   2024-01-01 00:00:00Z  2025-04-01 00:00:00Z  of 2025-04-17 16:00:00Z  1       0\n",
		"iocs     2024-01-01 00:00:00Z  2025-04-01 00:00:00Z  -                        0       0\n", "alerts: the pass is after 77\n", "each run: 5\n")
	out, _ = newHeldRig(t, openctitest.Config{}, heldText).run(0, "show")
	if strings.Contains(out, "ackfill") || !strings.Contains(out, "imported since  2025-04-01 00:00:00Z\n") {
		t.Errorf("without one: %s", out)
	}
}

func TestAChangeSaysWhatItMakesOfABackfill(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, backfilledText)
	file := filepath.Join(t.TempDir(), "state.json")
	r.run(0, "export", file)
	out, _ := r.run(0, "set-since", "alerts", "2025-03-01", "--yes")
	r.expect(out, "The backfill under way goes on as it is.")
	if strings.Contains(out, "backfill of") || !strings.Contains(r.platform.State(), `"backfill":{"alerts":{"since":"2024-01-01T00:00:00Z"`) {
		t.Errorf("it holds %s\n%s", r.platform.State(), out)
	}
	out, _ = r.run(2, "reset")
	r.expect(out, "backfill of alerts\n  before: read from 2024-01-01 00:00:00Z to 2025-04-01 00:00:00Z\n", "after:  none; order it again")

	r = newHeldRig(t, openctitest.Config{}, heldText)
	out, _ = r.run(0, "import", file, "--yes")
	r.expect(out, "backfill of alerts\n  before: none under way\n  after:  read from 2024-01-01 00:00:00Z to 2025-04-01 00:00:00Z\n          a pass of 2025-04-17 16:00:00Z under way, after 77\n",
		"backfill of iocs\n", "imported since\n  before: 2025-04-01 00:00:00Z\n  after:  2024-01-01 00:00:00Z, the backfill under way included\n")
	if !strings.Contains(r.platform.State(), `"backfill":{"alerts":{"since":"2024-01-01T00:00:00Z"`) {
		t.Errorf("it holds %s", r.platform.State())
	}
}

func TestStateShowTellsOfNoStateAndOfOneThatCannotBeRead(t *testing.T) {
	out, _ := newHeldRig(t, openctitest.Config{}, "").run(0, "show")
	(&heldRig{T: t}).expect(out, "none: the next run imports everything since")
	r := newHeldRig(t, openctitest.Config{}, "gibberish")
	out, problems := r.run(1, "show")
	r.expect(out+problems, "gibberish", "cannot be read")
	out, _ = r.run(1, "show", "--json")
	r.expect(out, `"state": "gibberish"`, `"problem": "read state`)
}

func TestAStateIsNotChangedUnderAConnectorThatRuns(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, heldText)
	r.platform.LastHeard(time.Minute)
	file := filepath.Join(t.TempDir(), "state.json")
	r.run(0, "export", file)
	for _, args := range [][]string{{"set-since", "alerts", "2025-04-01", "--yes"}, {"import", file, "--yes"}} {
		_, problems := r.run(1, args...)
		r.expect(problems, "stop the connector first", "--force", "60 s ago")
	}
	if r.platform.State() != heldText {
		t.Errorf("it holds %s", r.platform.State())
	}
	out, _ := r.run(0, "set-since", "alerts", "2025-04-01", "--yes", "--force")
	r.expect(out, "Stored", "see `state show` then")
}

func TestAStateIsNotChangedWithoutAYes(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, heldText)
	out, problems := r.run(2, "set-since", "alerts", "2025-04-01")
	r.expect(out, "after:  read from 2025-04-01 00:00:00Z")
	r.expect(problems, "--yes")
	_, problems = r.run(2, "reset")
	r.expect(problems, "--yes")
	if r.platform.State() != heldText || r.platform.Calls("resetStateConnector") != 0 {
		t.Errorf("it holds %s", r.platform.State())
	}
}

func TestSetSinceSaysWhatWillHappenAndStoresIt(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, heldText)
	out, _ := r.run(0, "set-since", "alerts", "2025-03-01", "--yes")
	r.expect(out, "before: read from 2025-04-10 00:00:00Z\n          a pass of 2025-04-17 15:24:00Z under way, after 1234\n          1 item failed, 1 gone\n",
		"after:  read from 2025-03-01 00:00:00Z\n          1 item failed, 1 gone\n", "The pass under way is given up", "reads what changed in alerts since 2025-03-01 00:00:00Z",
		"Objects delivered already are not sent again; only what changed since", "stay owed: 17, 18", "Stored")
	after, err := state.Describe(r.platform.State())
	alerts, _ := after.Dataset("alerts")
	if err != nil || alerts.Since.Month() != time.March || alerts.Pass != nil || after.Commits != 42 || after.Folder != "the-folder" || after.Index != "the-index" {
		t.Errorf("%+v, %v", after, err)
	}
	// OpenCTI takes the ping for a sign of life; there is none, and that is known.
	out, _ = r.run(0, "set-since", "profiles", "2025-05-01T12:00:00Z", "--yes", "--json")
	var result struct {
		Changed       bool
		Before, After json.RawMessage
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil || !result.Changed || !strings.Contains(string(result.After), "2025-05-01T12:00:00Z") {
		t.Errorf("%v: %s", err, out)
	}
	out, _ = r.run(0, "show")
	r.expect(out, "changed by hand")
	out, _ = r.run(0, "set-since", "profiles", "2025-05-01T12:00:00Z", "--yes")
	r.expect(out, "nothing to change")
	if pings := len(r.platform.Pings()); pings != 3 {
		t.Errorf("%d pings", pings)
	}
}

func TestALaterMomentIsSaidToSkipSomething(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, heldText)
	out, _ := r.run(0, "set-since", "profiles", "2025-04-20", "--yes")
	r.expect(out, "between 2025-04-17 15:24:00Z and 2025-04-20 00:00:00Z\nand was not read yet is skipped")
}

func TestSetSinceWantsADatasetAndAMomentOfThePast(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, heldText)
	for _, args := range [][]string{{"cats", "2025-04-01"}, {"reports", "2025-04-01"}, {"alerts", "yesterday"}, {"alerts", "2999-01-01"}, {"alerts"}} {
		_, problems := r.run(2, append([]string{"set-since", "--yes"}, args...)...)
		r.expect(problems, "connector-threatmatch: ")
	}
	_, problems := r.run(2, "set-since", "--yes", "alerts", "86400")
	r.expect(problems, `"86400" lacks a unit; 86400 seconds are PT86400S`)
	if r.platform.State() != heldText {
		t.Errorf("it holds %s", r.platform.State())
	}
}

func TestSetSinceTakesADurationBeforeNow(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, heldText)
	begun := time.Now().Truncate(time.Second)
	r.run(0, "set-since", "alerts", "PT36H", "--yes")
	after, err := state.Describe(r.platform.State())
	alerts, _ := after.Dataset("alerts")
	if since := alerts.Since.Add(36 * time.Hour); err != nil || since.Before(begun) || since.After(time.Now()) {
		t.Errorf("%s, %v", alerts.Since, err)
	}
}

func TestAnExportIsTheStateAndNothingElse(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, heldText)
	if out, problems := r.run(0, "export"); out != heldText || problems != "" {
		t.Errorf("%s%s", out, problems)
	}
	file := filepath.Join(t.TempDir(), "state.json")
	r.run(0, "export", file)
	text, err := os.ReadFile(file)
	info, _ := os.Stat(file)
	if err != nil || string(text) != heldText || info.Mode().Perm() != 0o600 {
		t.Errorf("%v: %s, %s", err, text, info.Mode())
	}
	_, problems := r.run(2, "export", file)
	r.expect(problems, "is not overwritten")
	if _, problems = newHeldRig(t, openctitest.Config{}, "").run(1, "export"); !strings.Contains(problems, "no state") {
		t.Errorf("%s", problems)
	}
}

func TestAnExportComesBack(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, heldText)
	file := filepath.Join(t.TempDir(), "state.json")
	r.run(0, "export", file)
	r.run(0, "set-since", "alerts", "2025-03-01", "--yes")
	out, _ := r.run(0, "import", file, "--yes")
	r.expect(out, "before: read from 2025-03-01", "after:  read from 2025-04-10 00:00:00Z\n          a pass of", "goes on from where the file says")
	after, err := state.Describe(r.platform.State())
	if alerts, _ := after.Dataset("alerts"); err != nil || alerts.Pass == nil || alerts.Pass.After != "1234" || after.Commits != 43 {
		t.Errorf("%+v, %v", after, err)
	}
	for text, want := range map[string]string{"": "it is empty", "<html>": "not a state of this connector", `{"version":9}`: "newer release"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, problems := r.run(1, "import", file, "--yes")
		r.expect(problems, want, file)
	}
	_, problems := r.run(1, "import", filepath.Join(t.TempDir(), "missing"), "--yes")
	r.expect(problems, "missing")
}

func TestAResetReachesAConnectorThatRuns(t *testing.T) {
	for name, cfg := range map[string]openctitest.Config{"timed": {}, "untimed": {NoStateTimestamp: true}} {
		t.Run(name, func(t *testing.T) {
			r := newHeldRig(t, cfg, heldText)
			r.platform.LastHeard(time.Second)
			out, _ := r.run(0, "reset", "--yes")
			r.expect(out, "empties its queue", "before: read from", "in 40 seconds at most")
			if r.platform.State() != "" || r.platform.Calls("resetStateConnector") != 1 {
				t.Errorf("it holds %s", r.platform.State())
			}
			out, _ = r.run(0, "show")
			r.expect(out, "has not heard of the reset yet")
		})
	}
}

func TestAResetWithoutTheRightSaysWhichIsMissing(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{Capabilities: []string{"CONNECTORAPI", "MODULES"}}, heldText)
	_, problems := r.run(1, "reset", "--yes")
	r.expect(problems, "MODULES_MODMANAGE", "nothing was changed")
	if r.platform.State() != heldText {
		t.Errorf("it holds %s", r.platform.State())
	}
}

func TestStateCommandsSayWhatIsWrongWithTheConnection(t *testing.T) {
	r := newHeldRig(t, openctitest.Config{}, heldText)
	if err := r.platform.DeleteConnector(); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"show", "reset", "export"} {
		_, problems := r.run(1, command)
		r.expect(problems, "CONNECTOR_ID")
	}
	r.platform.RevokeToken()
	_, problems := r.run(1, "show")
	r.expect(problems, "OPENCTI_TOKEN")
	r.env = []string{"OPENCTI_URL=nowhere"}
	r.run(2, "show")
	if out, _ := r.run(0, "set-since", "--help"); !strings.Contains(out, "Example: ") {
		t.Errorf("%s", out)
	}
}
