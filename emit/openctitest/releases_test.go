package openctitest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

// What a connector would ask of each release of which there is a schema.
func TestEachReleaseHasWhatItHadAndBehavesLikeIt(t *testing.T) {
	for version, lacks := range map[string][]string{
		"5.5.4": {"connector_state_timestamp", "connector_queue_details", "connectorInfo", "schemaRelationsTypesMapping", "stixObjectOrStixRelationships",
			"effective_confidence_level", "playbook_compatible", "listen_callback_uri", "isMultiPartWork", "isWorkAlive", "file_markings", "stixBundlePush"},
		"5.12.29": {"connector_state_timestamp", "connector_queue_details", "connectorInfo", "stixObjectOrStixRelationships",
			"effective_confidence_level", "listen_callback_uri", "isMultiPartWork", "isWorkAlive", "file_markings", "stixBundlePush"},
		"6.0.10": {"connector_state_timestamp", "connector_queue_details", "connectorInfo", "stixObjectOrStixRelationships", "listen_callback_uri",
			"isMultiPartWork", "isWorkAlive", "file_markings", "stixBundlePush"},
		"6.1.0": {"connector_state_timestamp", "connector_queue_details", "connectorInfo", "listen_callback_uri", "isMultiPartWork", "isWorkAlive",
			"file_markings", "stixBundlePush"},
		"6.8.17":     {"isMultiPartWork"},
		"7.260817.0": {},
	} {
		t.Run(version, func(t *testing.T) {
			p := start(t, openctitest.Config{Version: version, Capabilities: []string{"MODULES"}})
			refusal := map[bool]string{true: "ForbiddenAccess", false: "FORBIDDEN_ACCESS"}[version == "5.5.4"]
			if r := p.ask(`mutation { resetStateConnector(id: "c1") { id } }`, nil); len(r.Errors) != 1 || r.Errors[0].Name != refusal {
				t.Errorf("without the right: %+v", r)
			}
			p = start(t, openctitest.Config{Version: version})
			p.mustRegister()
			for member, question := range map[string]string{
				"connector_state_timestamp":     `{ connector(id: "c1") { connector_state_timestamp } }`,
				"connector_queue_details":       `{ connector(id: "c1") { connector_queue_details { messages_number messages_size } } }`,
				"connectorInfo":                 `mutation { pingConnector(id: "c1", state: "x", connectorInfo: null) { id } }`,
				"schemaRelationsTypesMapping":   `{ schemaRelationsTypesMapping { key values } }`,
				"stixObjectOrStixRelationships": `{ stixObjectOrStixRelationships(first: 1) { edges { node { __typename } } } }`,
				"effective_confidence_level":    `{ me { effective_confidence_level { max_confidence } } }`,
				"playbook_compatible":           `mutation { registerConnector(input: {id: "c1", name: "n", type: EXTERNAL_IMPORT, playbook_compatible: true}) { id } }`,
				"listen_callback_uri":           `mutation { registerConnector(input: {id: "c1", name: "n", type: EXTERNAL_IMPORT, listen_callback_uri: null}) { id } }`,
				"isMultiPartWork":               `mutation { workAdd(connectorId: "c1", friendlyName: "w", isMultiPartWork: true) { id } }`,
				"isWorkAlive":                   `{ isWorkAlive(id: "w") }`,
				"file_markings":                 `query q { __typename } mutation m($f: Upload!) { uploadPending(file: $f, file_markings: []) { id } }`,
				"stixBundlePush":                `query q { __typename } mutation m { stixBundlePush(connectorId: "c1", bundle: "{}") }`,
			} {
				r := p.ask(question, nil)
				says := len(r.Errors) > 0 && strings.Contains(r.Errors[0].Message, member)
				if want := slices.Contains(lacks, member); says != want || !want && len(r.Errors) > 0 {
					t.Errorf("%s lacking: %t, answered %+v", member, want, r)
				}
			}
		})
	}
	if _, err := openctitest.New(openctitest.Config{Version: "5.4.0"}); err == nil {
		t.Error("a release without a schema is accepted")
	}
}

func TestAllThatIsWrongWithADocumentIsToldAtOnce(t *testing.T) {
	p := start(t, openctitest.Config{Version: "6.0.10"})
	r := p.ask(`mutation($i: ConnectorInfoInput) { pingConnector(id: "c1", connectorInfo: $i) { id connector_state_timestamp } }`, nil)
	if said := asJSON(t, r.Errors); len(r.Errors) < 3 || !strings.Contains(said, "ConnectorInfoInput") || !strings.Contains(said, "connector_state_timestamp") {
		t.Errorf("it tells of %s", said)
	}
	r = p.ask(`mutation($i: RegisterConnectorInput) { registerConnector(input: $i) { id } }`, vars{"i": vars{"id": 1.5, "name": "n", "type": "NONE", "a": 1, "b": 2}})
	if len(r.Errors) != 4 {
		t.Errorf("it tells of %s", asJSON(t, r.Errors))
	}
}

func TestAResetBefore62LeavesTheQueue(t *testing.T) {
	for version, left := range map[string]int{"6.1.0": 1, "6.8.17": 0} {
		broker := startBroker(t)
		p := start(t, openctitest.Config{Version: version, Broker: broker})
		p.mustRegister()
		publish(t, broker.URL(), 1)
		if err := p.Reset(); err != nil {
			t.Error(err)
		}
		if n, _ := broker.Depth("push_c1"); n != left {
			t.Errorf("%s: %d messages are left", version, n)
		}
		publish(t, broker.URL(), 1)
		if r := p.ask(`mutation { resetStateConnector(id: "c1") { id } }`, nil); r.Errors != nil {
			t.Error(r.Errors)
		}
		if n, _ := broker.Depth("push_c1"); n != 2*left {
			t.Errorf("%s: %d messages are left after a reset in the pages", version, n)
		}
	}
}

func TestADeadWorkIsStumbledOverBefore68(t *testing.T) {
	for version, fails := range map[string]bool{"6.0.10": true, "6.8.17": false} {
		p := start(t, openctitest.Config{Version: version})
		for _, change := range []string{"addExpectations(expectations: 1)", "toProcessed"} {
			if r := p.ask(`mutation { workEdit(id: "none") { `+change+` } }`, nil); (len(r.Errors) > 0) != fails {
				t.Errorf("%s, %s: %+v", version, change, r)
			}
		}
	}
}
