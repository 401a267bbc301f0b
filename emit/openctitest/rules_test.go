package openctitest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

// findAll asks for objects as a connector does.
const findAll = `query($v: [Any!]!, $n: Int) { stixObjectOrStixRelationships(first: $n, filters: {mode: and, filters: [{key: ["ids"], values: $v}], filterGroups: []}) {
	edges { node { __typename ... on BasicObject { id standard_id } ... on StixObject { x_opencti_stix_ids }
		... on BasicRelationship { id standard_id } ... on StixRelationship { x_opencti_stix_ids } } } } }`

// rule is one thing that a platform does: what is asked of it, once it is set up, and what it answers, as JSON of data, or
// as the code and a part of the message of an error.
type rule struct {
	name   string
	cfg    openctitest.Config
	setUp  func(p *platform)
	query  string
	vars   vars
	want   string
	code   string
	says   string
	status int
}

func TestThePlatformIsAsStrictAsTheRealOne(t *testing.T) {
	const one, invalid, unsupported = `stixObjectOrStixRelationship(id: "identity--1") { __typename }`, "GRAPHQL_VALIDATION_FAILED", "UNSUPPORTED_ERROR"
	older, old := openctitest.Config{Version: "6.0.10"}, openctitest.Config{Version: "6.9.0"}
	blind := openctitest.Config{NoKnowledge: true}
	hold := func(p *platform) {
		p.Hold("identity--1", "relationship--2", "sighting--3")
		p.HoldObject(openctitest.Held{ID: "0b4f", StandardID: "location--4", StixIDs: []string{"location--5"}, Type: "Country"})
	}
	ask := func(filter string) string {
		return `{ stixObjectOrStixRelationships(filters: ` + filter + `) { edges { node { __typename } } } }`
	}
	nodes := func(names ...string) string {
		for i, name := range names {
			names[i] = `{"node":{"__typename":"` + name + `"}}`
		}
		return `{"stixObjectOrStixRelationships":{"edges":[` + strings.Join(names, ",") + `]}}`
	}
	const edit = `workEdit(id: "none")`
	for _, tt := range []rule{
		// Batches.
		{name: "a call twice", query: `{ a: ` + one + ` b: ` + one + ` about { version } }`, setUp: hold,
			want: `{"a":{"__typename":"Organization"},"about":{"version":"7.260817.0"},"b":{"__typename":"Organization"}}`},
		{name: "a call three times", query: `{ a: ` + one + ` b: ` + one + ` c: ` + one + ` }`, code: invalid, status: 400,
			says: "Allowed number of calls for Query->stixObjectOrStixRelationship has been exceeded (max: 2)"},
		{name: "a call three times by way of a fragment", query: `{ a: ` + one + ` ... on Query { b: ` + one + ` } ...f } fragment f on Query { c: ` + one + ` }`,
			code: invalid, status: 400, says: "exceeded (max: 2)"},
		{name: "a call three times before 6.1", cfg: older, query: `{ a: ` + one + ` b: ` + one + ` c: ` + one + ` }`, want: `{"a":null,"b":null,"c":null}`},
		{name: "a change twice", query: `mutation { a: ` + edit + ` { toProcessed } b: ` + edit + ` { toProcessed } }`, code: invalid, status: 400,
			says: "Allowed number of calls for Mutation->workEdit has been exceeded (max: 1)"},
		{name: "two changes in one", query: `mutation { ` + edit + ` { addExpectations(expectations: 1) toProcessed } }`,
			want: `{"workEdit":{"addExpectations":"none","toProcessed":"none"}}`},

		// Versions.
		{name: "many objects before 6.1", cfg: older, query: findAll, vars: vars{"v": []string{"a"}}, code: invalid, status: 400, says: "stixObjectOrStixRelationships"},
		{name: "many objects before 7", cfg: old, query: findAll, vars: vars{"v": []string{"a"}}, want: nodes()},
		{name: "life of a work before 6.8", cfg: older, query: `{ isWorkAlive(id: "a") }`, code: invalid, status: 400, says: "isWorkAlive"},
		{name: "life of a work", query: `{ isWorkAlive(id: "a") }`, want: `{"isWorkAlive":false}`},
		{name: "version", cfg: old, query: `{ about { version } }`, want: `{"about":{"version":"6.9.0"}}`},

		// Connectors.
		{name: "a reset without the right", cfg: openctitest.Config{Capabilities: []string{"CONNECTORAPI", "MODULES"}}, query: `mutation { resetStateConnector(id: "c1") { id } }`, code: "FORBIDDEN_ACCESS"},
		{name: "a reset of no connector", query: `mutation { resetStateConnector(id: "nobody") { id } }`, code: "FUNCTIONAL_ERROR", says: "Cant find element to update"},
		{name: "last seen on an older release", cfg: openctitest.Config{Without: []string{"Connector.last_seen_at"}}, query: `{ connector(id: "c1") { last_seen_at } }`,
			code: invalid, status: 400, says: "last_seen_at"},

		// Knowledge.
		{name: "by a standard id", setUp: hold, query: findAll, vars: vars{"v": []string{"location--4", "location--9"}},
			want: `{"stixObjectOrStixRelationships":{"edges":[{"node":{"__typename":"Country","id":"0b4f","standard_id":"location--4","x_opencti_stix_ids":["location--5"]}}]}}`},
		{name: "by an internal id", setUp: hold, query: ask(`{mode: and, filters: [{key: ["ids"], values: ["0b4f"]}], filterGroups: []}`), want: nodes("Country")},
		{name: "by another id, once", setUp: hold, query: ask(`{mode: and, filters: [{key: "ids", values: ["location--5", "0b4f"]}], filterGroups: []}`), want: nodes("Country")},
		{name: "by all of its ids", setUp: hold, query: ask(`{mode: and, filters: [{key: "ids", mode: and, values: ["location--5", "identity--1"]}], filterGroups: []}`), want: nodes()},
		{name: "either of two filters", setUp: hold, query: ask(`{mode: or, filters: [{key: "ids", values: "location--5"}, {key: "ids", values: "x"}], filterGroups: []}`), want: nodes("Country")},
		{name: "both of two groups", setUp: hold, query: ask(`{mode: and, filters: [], filterGroups: [
			{mode: or, filters: [{key: "ids", values: "location--5"}], filterGroups: []}, {mode: or, filters: [{key: "ids", operator: not_eq, values: "0b4f"}], filterGroups: []}]}`), want: nodes()},
		{name: "no more than asked for", setUp: hold, query: `{ stixObjectOrStixRelationships(first: 2) { edges { node { __typename } } pageInfo { hasNextPage globalCount } } }`,
			want: `{"stixObjectOrStixRelationships":{"edges":[{"node":{"__typename":"Country"}},{"node":{"__typename":"StixSightingRelationship"}}],"pageInfo":{"globalCount":4,"hasNextPage":true}}}`},
		{name: "after a page", setUp: hold, query: `{ stixObjectOrStixRelationships(after: "ffffffff") { edges { cursor } pageInfo { hasPreviousPage } } }`,
			want: `{"stixObjectOrStixRelationships":{"edges":[],"pageInfo":{"hasPreviousPage":true}}}`},
		{name: "a relation", setUp: hold, query: ask(`{mode: and, filters: [{key: "ids", values: ["relationship--2"]}], filterGroups: []}`), want: nodes("StixCoreRelationship")},
		{name: "a sighting has no fields of an object", setUp: hold, query: `{ stixObjectOrStixRelationship(id: "sighting--3") { ... on BasicObject { id } ... on StixRelationship { standard_id } } }`,
			want: `{"stixObjectOrStixRelationship":{"standard_id":"sighting--3"}}`},
		{name: "another key", query: ask(`{mode: and, filters: [{key: "id", values: ["a"]}], filterGroups: []}`), code: unsupported, says: "Incorrect filter keys"},
		{name: "several keys", query: ask(`{mode: and, filters: [{key: ["ids", "ids"], values: ["a"]}], filterGroups: []}`), code: unsupported},
		{name: "no key", query: ask(`{mode: and, filters: [{key: [], values: ["a"]}], filterGroups: []}`), code: unsupported},
		{name: "another operator", query: ask(`{mode: and, filters: [{key: "ids", operator: gt, values: ["a"]}], filterGroups: []}`), code: invalid, status: 400},
		{name: "a filter that is not complete", query: ask(`{mode: and, filters: [{key: "ids", values: ["a"]}]}`), code: invalid, status: 400, says: "filterGroups"},
		{name: "a negative number", query: findAll, vars: vars{"v": []string{}, "n": -1}, code: "DATABASE_ERROR"},
		{name: "one object without the right", cfg: blind, setUp: hold, query: `{ ` + one + ` }`, code: "FORBIDDEN_ACCESS"},
		{name: "many objects without the right", cfg: blind, setUp: hold, query: findAll, vars: vars{"v": []string{"a"}}, code: "FORBIDDEN_ACCESS"},
		{name: "what was removed", setUp: func(p *platform) { hold(p); p.Remove("location--5", "location--9") },
			query: ask(`{mode: and, filters: [{key: "ids", values: ["0b4f", "location--4", "location--5"]}], filterGroups: []}`), want: nodes()},

		// Relations.
		{name: "relations", cfg: openctitest.Config{Relations: map[string][]string{"Tool_Tool": {"uses"}, "City_City": {"a", "b"}}},
			query: `{ schemaRelationsTypesMapping { key values } }`, want: `{"schemaRelationsTypesMapping":[{"key":"City_City","values":["a","b"]},{"key":"Tool_Tool","values":["uses"]}]}`},
		{name: "all relations", query: `{ schemaRelationsTypesMapping { key } }`, want: `{"schemaRelationsTypesMapping":[]}`},
		{name: "relations of a platform that cannot say", cfg: openctitest.Config{Without: []string{"Query.schemaRelationsTypesMapping"}},
			query: `{ schemaRelationsTypesMapping { key } }`, code: invalid, status: 400},

		// Rights.
		{name: "the user", query: `{ me { id name user_email effective_confidence_level { max_confidence } } }`,
			want: `{"me":{"effective_confidence_level":{"max_confidence":100},"id":"3b6f2a5e-4d0c-4c57-9d0b-2f1f3f6f6b11","name":"[C] ThreatMatch","user_email":"threatmatch@opencti.invalid"}}`},
		{name: "a user without confidence", cfg: openctitest.Config{NoConfidence: true, Capabilities: []string{"MODULES"}},
			query: `{ me { capabilities { name } effective_confidence_level { max_confidence } } }`,
			want:  `{"me":{"capabilities":[{"name":"MODULES"}],"effective_confidence_level":null}}`},
		{name: "confidence before 6", cfg: openctitest.Config{Version: "5.12.0"}, query: `{ me { effective_confidence_level { max_confidence } } }`, code: invalid, status: 400,
			says: "effective_confidence_level"},
		{name: "a connector without the right", cfg: openctitest.Config{Capabilities: []string{"CONNECTORAPI"}}, query: `{ connector(id: "a") { id } }`, code: "FORBIDDEN_ACCESS"},
		{name: "a connector with more than the right", cfg: openctitest.Config{Capabilities: []string{"MODULES_MODMANAGE"}}, query: `{ connector(id: "a") { id } }`, want: `{"connector":null}`},
		{name: "a ping without the right", cfg: openctitest.Config{Capabilities: []string{"MODULES"}}, query: `mutation { pingConnector(id: "a") { id } }`, code: "FORBIDDEN_ACCESS"},
		{name: "the broker without the right", cfg: openctitest.Config{Capabilities: []string{"MODULES"}}, query: `{ connectors { config { connection { host } } } }`, code: "FORBIDDEN_ACCESS"},
		{name: "the broker, of whoever may do all", cfg: openctitest.Config{Capabilities: []string{"BYPASS"}}, query: `{ connectors { name active config { connection { host } push } } }`,
			want: `{"connectors":[{"active":true,"config":{"connection":{"host":"localhost"},"push":"push_d336676c-4ee5-4257-96ff-b2a86688d4af"},"name":"[FILE] CSV Mapper import"}]}`},

		// Works.
		{name: "a dead work", query: `{ work(id: "none") { id } }`, want: `{"work":null}`},
		{name: "a dead work that is told of", cfg: openctitest.Config{TellsDeadWorks: true}, query: `mutation { ` + edit + ` { toProcessed } }`, code: "WORK_NOT_ALIVE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, tt.cfg)
			if tt.setUp != nil {
				tt.setUp(p)
			}
			r := p.ask(tt.query, tt.vars)
			if tt.status == 0 {
				tt.status = 200
			}
			if r.status != tt.status || r.code() != tt.code || (tt.code != "" && (r.Errors[0].Name != tt.code || !strings.Contains(r.Errors[0].Message, tt.says))) {
				t.Fatalf("answered %d %+v", r.status, r)
			}
			if got := asJSON(t, r.Data); tt.code == "" && got != tt.want {
				t.Errorf("answered %s\nwant     %s", got, tt.want)
			}
		})
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// message is one of the queue, as the connector writes it.
func message(t *testing.T, workID string, objects ...string) []byte {
	t.Helper()
	body := map[string]any{"content": []byte(`{"type":"bundle","id":"bundle--1","objects":[` + strings.Join(objects, ",") + `]}`)}
	if workID != "" {
		body["work_id"] = workID
	}
	return []byte(asJSON(t, body))
}

func TestWorkersImportWhatThePlatformTakes(t *testing.T) {
	relation := func(kind, from, to string) string {
		return fmt.Sprintf(`{"type":"relationship","id":"relationship--1","relationship_type":%q,"source_ref":%q,"target_ref":%q}`, kind, from, to)
	}
	error := func(name, message string) string {
		return "{'name': '" + name + "', 'error_message': '" + message + "'}"
	}
	missing := error("MISSING_REFERENCE_ERROR", "Element(s) not found")
	const set, flaw, land = "intrusion-set--1", "vulnerability--1", "location--1"
	for _, tt := range []struct {
		name    string
		object  string
		outcome openctitest.Outcome
		message string
	}{
		{"object", `{"type":"tool","id":"tool--1","name":"é"}`, openctitest.Imported, ""},
		{"with what is held", `{"type":"tool","id":"tool--1","created_by_ref":"identity--1","object_marking_refs":[]}`, openctitest.Imported, ""},
		{"author missing", `{"type":"tool","id":"tool--1","created_by_ref":"identity--9"}`, openctitest.Failed, missing},
		{"marking missing", `{"type":"tool","id":"tool--1","object_marking_refs":["identity--1","marking-definition--9"]}`, openctitest.Failed, missing},
		{"reference that is null", `{"type":"tool","id":"tool--1","created_by_ref":null}`, openctitest.Imported, ""},
		{"reference to itself", `{"type":"tool","id":"tool--1","created_by_ref":"tool--1"}`, openctitest.Imported, ""},
		{"reference to an unknown type", `{"type":"report","id":"report--1","object_refs":["x-thing--1"]}`, openctitest.Imported, ""},
		{"reference that is none", `{"type":"report","id":"report--1","object_refs":[1]}`, openctitest.Dropped, ""},
		{"allowed", relation("targets", set, flaw), openctitest.Imported, ""},
		{"not allowed", relation("uses", set, flaw), openctitest.Failed,
			error("FUNCTIONAL_ERROR", "The relationship type uses is not allowed between Intrusion-Set and Vulnerability")},
		{"by the object's type", relation("originates-from", set, land), openctitest.Imported, ""},
		{"related", relation("related-to", set, flaw), openctitest.Imported, ""},
		{"no relation", relation("likes", set, flaw), openctitest.Failed,
			error("FUNCTIONAL_ERROR", "Only stix-core-relationship can be created through this method.")},
		{"relation to itself", relation("related-to", set, set), openctitest.Failed,
			error("UNSUPPORTED_ERROR", "Relation cant be created with the same source and target")},
		{"end missing", relation("targets", set, "vulnerability--9"), openctitest.Failed, missing},
		{"no end", `{"type":"relationship","id":"relationship--1","relationship_type":"uses","source_ref":null,"target_ref":"tool--1"}`, openctitest.Failed, "Incompatible element in bundle"},
		{"end left out", `{"type":"relationship","id":"relationship--1","relationship_type":"uses","target_ref":"tool--1"}`, openctitest.Dropped, ""},
		{"sighting", `{"type":"sighting","id":"sighting--1","sighting_of_ref":"` + set + `","where_sighted_refs":["identity--1"]}`, openctitest.Imported, ""},
		{"sighting of nothing", `{"type":"sighting","id":"sighting--1","where_sighted_refs":["identity--1"]}`, openctitest.Failed, "Incompatible element in bundle"},
		{"unknown id", `{"type":"x-thing","id":"x-thing--1"}`, openctitest.Failed, "Incompatible element in bundle"},
		{"unknown type", `{"type":"x-thing","id":"tool--1"}`, openctitest.Ignored, ""},
		{"no id", `{"type":"tool"}`, openctitest.Dropped, ""},
		{"no object", `7`, openctitest.Dropped, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, openctitest.Config{Relations: map[string][]string{
				"Intrusion-Set_Vulnerability": {"targets"}, "Intrusion-Set_Country": {"originates-from"}, "Malware_Tool": {"uses"}}})
			p.mustRegister()
			p.Hold("identity--1", set, flaw)
			if got := p.Import(message(t, "", `{"type":"location","id":"`+land+`","name":"Y","country":"FR"}`)); got != openctitest.Imported {
				t.Fatalf("a location was %s", got)
			}
			work := p.openWork()
			if got := p.Import(message(t, work, tt.object)); got != tt.outcome {
				t.Errorf("was %s, want %s", got, tt.outcome)
			}
			var object struct{ ID string }
			_ = json.Unmarshal([]byte(tt.object), &object)
			stored, ok := p.Object(object.ID)
			if held := tt.outcome == openctitest.Imported; ok != held || p.Holds(object.ID) != held || (held && string(stored) != tt.object) {
				t.Errorf("the platform holds %s", stored)
			}
			w, processed := p.Works()[0], 1
			if tt.outcome == openctitest.Dropped {
				processed = 0
			}
			if w.Processed != processed || (len(w.Errors) == 1) != (tt.outcome == openctitest.Failed) || (len(w.Errors) == 1 && w.Errors[0].Message != tt.message) {
				t.Errorf("the work says %+v", w)
			}
		})
	}
}

func TestMessagesOfNobodyAreDropped(t *testing.T) {
	p := start(t, openctitest.Config{})
	p.mustRegister()
	work := p.openWork()
	const tool = `{"type":"tool","id":"tool--1"}`
	p.DeleteWork(work)
	for name, body := range map[string][]byte{
		"no JSON": []byte("x"), "no content": []byte(`{}`), "no base64": []byte(`{"content":"x"}`), "no bundle": []byte(`{"content":"e30="}`),
		"empty bundle": message(t, ""), "deleted work": message(t, work, tool), "unknown work": message(t, "work_none", tool),
	} {
		if got := p.Import(body); got != openctitest.Dropped || p.Holds("tool--1") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if w := p.Works()[0]; w.Processed != 0 {
		t.Errorf("the deleted work says %+v", w)
	}
}

func TestErrorsHoldWhatFailed(t *testing.T) {
	p := start(t, openctitest.Config{})
	p.mustRegister()
	work := p.openWork()
	hits := p.FailImports(openctitest.Failure{ID: "tool--1", Times: 4, Name: "LOCK_ERROR", Message: "it's busy"})
	object := func(name string) string {
		return `{ "type": "tool","id":"tool--1","x_opencti_stix_ids":[], "name":"` + name + `" }`
	}
	for _, name := range []string{"é😀", strings.Repeat("x", 49_785), strings.Repeat("x", 49_786), strings.Repeat("é", 9_000)} {
		if got := p.Import(message(t, work, object(name))); got != openctitest.Failed {
			t.Errorf("was %s", got)
		}
	}
	if got := p.Import(message(t, work, object("x"))); got != openctitest.Imported || hits() != 4 {
		t.Errorf("after the failure: %s, %d hits", got, hits())
	}
	p.FailImports(openctitest.Failure{Times: -1, Message: "Bad Gateway"})
	for range 120 {
		p.Import(message(t, work, `{"type":"tool","id":"tool--2"}`))
	}
	p.ClearFailures()
	w := p.Works()[0]
	if len(w.Errors) != 100 || w.Processed != 125 || w.Errors[99].Message != "Bad Gateway" {
		t.Fatalf("%d errors of %d messages", len(w.Errors), w.Processed)
	}
	const own = `"nb_deps": 1, "x_opencti_granted_refs": null, "x_opencti_workflow_id": null, "x_opencti_modified_at": null, "opencti_upsert_operations": null}`
	if want := `{"type": "tool", "id": "tool--1", "x_opencti_stix_ids": [], "name": "\u00e9\ud83d\ude00", ` + own; w.Errors[0].Source != want {
		t.Errorf("source %s\nwant   %s", w.Errors[0].Source, want)
	}
	if w.Errors[0].Message != `{'name': 'LOCK_ERROR', 'error_message': "it's busy"}` {
		t.Errorf("message %s", w.Errors[0].Message)
	}
	if n := len(w.Errors[1].Source); n != 49_999 || w.Errors[2].Source != "Bundle too large" || w.Errors[3].Source != "Bundle too large" {
		t.Errorf("sources of %d characters, %.20s, and %.20s", n, w.Errors[2].Source, w.Errors[3].Source)
	}
}

// told asks for all that a work says of itself but its times.
func (p *platform) told(id string) string {
	r := p.ask(`query($id: ID!) { work(id: $id) { status completed_number tracking { import_expected_number import_processed_number }
		errors { message source sequence } messages { message } } }`, vars{"id": id})
	return asJSON(p.t, r.Data["work"])
}

func TestAWorkSaysWhatBecameOfIt(t *testing.T) {
	p := start(t, openctitest.Config{})
	p.mustRegister()
	edit := func(id, change string) {
		if r := p.ask(`mutation($id: ID!) { workEdit(id: $id) { `+change+` } }`, vars{"id": id}); r.Errors != nil {
			t.Error(r.Errors)
		}
	}
	arrive := func(id string) { p.Import(message(t, id, `{"type":"tool","id":"tool--1"}`)) }
	open := func(multi bool) string {
		r := p.ask(`mutation($m: Boolean) { workAdd(connectorId: "c1", friendlyName: "a run", isMultiPartWork: $m) { id name timestamp received_time completed_time } }`, vars{"m": multi})
		w := r.Data["workAdd"].(map[string]any)
		if w["name"] != "a run" || w["timestamp"] == nil || w["completed_time"] != nil {
			t.Errorf("opened %v", w)
		}
		return w["id"].(string)
	}
	say := func(status string, number, expected, processed int, errors, messages string) string {
		return fmt.Sprintf(`{"completed_number":%d,"errors":[%s],"messages":[%s],"status":%q,"tracking":{"import_expected_number":%d,"import_processed_number":%d}}`,
			number, errors, messages, status, expected, processed)
	}
	for _, tt := range []struct {
		name  string
		multi bool
		steps string
		want  string
	}{
		{"new", true, "", say("progress", 0, 0, 0, "", "")},
		{"under way", true, "+2 i", say("progress", 0, 2, 1, "", "")},
		{"of many parts, between two", true, "+1 i", say("progress", 0, 1, 1, "", "")},
		{"of many parts, closed", true, "+1 i c", say("complete", 1, 1, 1, "", `{"message":"done"}`)},
		{"of many parts, closed before the last message", true, "+2 i c", say("progress", 0, 2, 1, "", `{"message":"done"}`)},
		{"of many parts, after the last message", true, "+2 i c i", say("complete", 2, 2, 2, "", `{"message":"done"}`)},
		{"of one part, between two", false, "+1 i", say("complete", 1, 1, 1, "", "")},
		{"without a message", true, "c", say("complete", 1, 1, 1, "", `{"message":"done"}`)},
		{"closed in error", true, "+1 e", say("progress", 0, 1, 0, `{"message":"broken","sequence":null,"source":null}`, "")},
	} {
		id := open(tt.multi)
		for _, step := range strings.Fields(tt.steps) {
			switch step {
			case "i":
				arrive(id)
			case "c":
				edit(id, `toProcessed(message: "done", inError: false)`)
			case "e":
				edit(id, `toProcessed(message: "broken", inError: true)`)
			default:
				edit(id, `addExpectations(expectations: `+step[1:]+`)`)
			}
		}
		if got := p.told(id); got != tt.want {
			t.Errorf("%s: %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestABackupBringsBackWhatThePlatformHeld(t *testing.T) {
	p := start(t, openctitest.Config{})
	p.mustRegister()
	p.ping("before")
	work := p.openWork()
	p.Import(message(t, work, `{"type":"tool","id":"tool--1","name":"old"}`))
	before := p.told(work)
	backup := p.Snapshot()

	for range 2 {
		p.ping("after")
		p.Import(message(t, work, `{"type":"tool","id":"tool--1","name":"new"}`))
		p.Import(message(t, work, `{"type":"tool","id":"tool--2"}`))
		p.DeleteWork(work)
		later := p.openWork()
		p.Restore(backup)
		object, _ := p.Object("tool--1")
		if p.State() != "before" || p.told(work) != before || p.told(later) != "null" || p.Holds("tool--2") || !strings.Contains(string(object), "old") {
			t.Errorf("restored: state %s, work %s, object %s", p.State(), p.told(work), object)
		}
	}
	if len(p.Pings()) != 3 {
		t.Errorf("%d pings are on record", len(p.Pings()))
	}
}

// The table of the platform names entities as this package does.
func TestEntitiesAreNamedAsInThePlatformsTable(t *testing.T) {
	raw, err := os.ReadFile("../../../shared/spec/relations.json")
	if err != nil {
		t.Skip("the platform's table is not beside the repository")
	}
	var table struct{ Mapping map[string][]string }
	if err := json.Unmarshal(raw, &table); err != nil {
		t.Fatal(err)
	}
	p := start(t, openctitest.Config{Relations: table.Mapping})
	p.Import(message(t, "", `{"type":"intrusion-set","id":"intrusion-set--1"}`))
	kinds := map[string]string{
		"identity--1": `"identity_class":"class"`, "location--1": `"region":"x"`, "threat-actor--1": `"resource_level":"Individual"`,
		"file--1": `"name":"x"`, "ipv4-addr--1": `"value":"x"`, "course-of-action--1": `"name":"x"`, "x-opencti-task--1": `"name":"x"`,
	}
	got := map[string]string{}
	for id, member := range kinds {
		p.Import(message(t, "", `{"type":"`+id[:strings.Index(id, "--")]+`","id":"`+id+`",`+member+`}`))
		got[id] = p.ask(`query($id: String!) { stixObjectOrStixRelationship(id: $id) { __typename } }`, vars{"id": id}).Data["stixObjectOrStixRelationship"].(map[string]any)["__typename"].(string)
	}
	want := map[string]string{"identity--1": "Sector", "location--1": "Region", "threat-actor--1": "ThreatActorIndividual", "file--1": "StixFile",
		"ipv4-addr--1": "IPv4Addr", "course-of-action--1": "CourseOfAction", "x-opencti-task--1": "Task"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	if w := p.Import(message(t, "", `{"type":"relationship","id":"relationship--1","relationship_type":"targets","source_ref":"intrusion-set--1","target_ref":"location--1"}`)); w != openctitest.Imported {
		t.Errorf("a set that targets a region was %s", w)
	}
}
