package endtoend

import (
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// pythonConnector takes its turn as the Python connector does since its release 6.7.10: it registers, reads the state that it is
// given, asks ThreatMatch for what has changed since, and stores the start of its run in place of the whole state. It sends nothing, and
// says what it would have brought.
const pythonConnector = `
import json, os, sys, urllib.parse, urllib.request
from datetime import datetime, timezone

def call(url, body=None, token=None, **more):
    headers = {"Content-Type": "application/json", "Accept": "application/json", **more}
    if token:
        headers["Authorization"] = "Bearer " + token
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
        return json.load(answer)

custom = dict(pair.split(": ", 1) for pair in os.environ["OPENCTI_CUSTOM_HEADERS"].split(";"))

def opencti(query, **variables):
    answer = call(os.environ["OPENCTI_URL"] + "/graphql", {"query": query, "variables": variables}, os.environ["OPENCTI_TOKEN"], **custom)
    if answer.get("errors"):
        sys.exit(json.dumps(answer["errors"]))
    return answer["data"]

me, api = os.environ["CONNECTOR_ID"], os.environ["THREATMATCH_URL"]
registered = opencti("mutation R($i: RegisterConnectorInput) { registerConnector(input: $i) { connector_state } }",
                     i={"id": me, "name": "ThreatMatch", "type": "EXTERNAL_IMPORT", "scope": ["threatmatch"], "auto": False})
held = registered["registerConnector"]["connector_state"]
state = (json.loads(held) if held else None) or {}
last = state.get("last_run")
if last:
    last = datetime.fromtimestamp(last, tz=timezone.utc) if isinstance(last, (int, float)) else datetime.fromisoformat(last)
since = (last or datetime.fromisoformat(os.environ["IMPORT_FROM"])).strftime("%Y-%m-%d %H:%M")

token = call(api + "/api/developers-platform/token",
             {"client_id": os.environ["THREATMATCH_CLIENT_ID"], "client_secret": os.environ["THREATMATCH_CLIENT_SECRET"]})["access_token"]
listed = call(api + "/api/profiles/all?" + urllib.parse.urlencode({"mode": "compact", "date_since": since}), token=token)["list"]
group = [g["id"] for g in call(api + "/api/taxii/groups", token=token) if g["name"] == "All content"][0]
after = datetime.strptime(since, "%Y-%m-%d %H:%M").isoformat(timespec="milliseconds") + "Z"
page = call(api + "/api/taxii/objects?" + urllib.parse.urlencode({"groupId": group, "stixTypeName": "indicator", "modifiedAfter": after}), token=token)

start = datetime.fromisoformat(os.environ["RUN_START"])
stored = {"last_run": start.isoformat(timespec="seconds")}
opencti("mutation P($id: ID!, $state: String) { pingConnector(id: $id, state: $state) { connector_state } }", id=me, state=json.dumps(stored))
print(json.dumps({"since": since, "profiles": [str(i) for i in listed], "indicators": [i["id"] for i in page["objects"]]}))
`

// brought is what the Python connector would have brought.
type brought struct {
	Since                string
	Profiles, Indicators []string
}

// runPython lets the Python connector take its turn, as if it had begun at a moment.
func (w *world) runPython(began time.Time) (b brought) {
	w.t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		w.t.Skip("there is no python3 here to take over the state as the Python connector does")
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), hang)
	defer cancel()
	command := exec.CommandContext(ctx, python, "-c", pythonConnector)
	command.Env = w.environ("RUN_START="+began.UTC().Format("2006-01-02T15:04:05-07:00"), "IMPORT_FROM=2000-01-01")
	var failed strings.Builder
	command.Stderr = &failed
	out, err := command.Output()
	if err != nil {
		w.t.Fatalf("%v: %s", err, failed.String())
	}
	must(w.t, json.Unmarshal(out, &b))
	return b
}

func TestTheStateGoesToThePythonConnectorAndBackWithoutAGap(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 1, 20, 10, 30, 40, 0, time.UTC)
	data := new(threatmatchtest.Folder)
	ids := map[int][]string{}
	put := func(number, days int) { ids[number] = putDated(t, data, number, day.AddDate(0, 0, days)) }
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	sent := func() (all []string) {
		for _, m := range w.take() {
			all = append(all, m.ID)
		}
		return all
	}
	has := func(where string, all []string, wanted []string, want bool) {
		t.Helper()
		for _, id := range wanted {
			if slices.Contains(all, id) != want {
				t.Errorf("%s: %s is there: %t, want %t", where, id, !want, want)
			}
		}
	}
	put(1, -10)
	put(2, 1)

	// From Python: what changed before its last run is not brought again.
	if b := w.runPython(day); len(b.Profiles) != 2 || b.Since != "2000-01-01 00:00" {
		t.Errorf("the first run of Python brings %+v", b)
	}
	put(3, 2)
	put(4, 3)
	w.api.Fault(threatmatchtest.Rule{Path: "/api/stix/profiles/3", Do: threatmatchtest.Status(500)})
	w.run(exitRunFailed, "THREATMATCH_OVERLAP=PT0S", "THREATMATCH_IMPORT_ALERTS=false")
	first := sent()
	has("taken over", first, slices.Concat(ids[2], ids[4]), true)
	has("taken over", first, slices.Concat(ids[1], ids[3][:1]), false)

	// Back to Python: what is owed lies behind last_run.
	w.api.ClearFaults()
	b := w.runPython(day.AddDate(0, 0, 5))
	if !slices.Contains(b.Profiles, "3") {
		t.Errorf("Python begins at %s and does not bring what is owed: %+v", b.Since, b)
	}

	// And from Python again, which has kept nothing of the rest: what it brought is not brought again, all that came since is, and
	// nothing is believed of the index, to which the objects of before are known.
	if state := w.platform.State(); strings.Contains(state, "datasets") {
		t.Fatalf("Python has left %s", state)
	}
	put(5, 6)
	must(t, data.Put("profiles", 4, day.AddDate(0, 0, 6), []byte(`[{"type":"tool","id":`+strconv.Quote(ids[4][0])+`,"name":"tool 4","modified":"2026-01-23T10:30:40.000Z"}]`)))
	w.run(exitOK, "THREATMATCH_OVERLAP=PT0S", "THREATMATCH_IMPORT_ALERTS=false")
	last := sent()
	has("taken back", last, slices.Concat(ids[5], ids[4][:1]), true)
	has("taken back", last, slices.Concat(ids[1], ids[2], ids[3]), false)
	w.run(exitOK, "THREATMATCH_OVERLAP=PT0S", "THREATMATCH_IMPORT_ALERTS=false")
	if again := sent(); len(again) > 0 {
		t.Errorf("a run later it sends %v", again)
	}

	// A complete run hands over its own start, before which nothing is left.
	if b := w.runPython(time.Now()); len(b.Profiles)+len(b.Indicators) > 0 {
		t.Errorf("after a complete run Python brings %+v", b)
	}
}
