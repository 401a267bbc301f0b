package openctitest_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

func TestOperationsAreHeldAgainstTheSchema(t *testing.T) {
	const pingQuery = `mutation($i: ConnectorInfoInput) { pingConnector(id: "c1", state: "x", connectorInfo: $i) { id } }`
	const registerQuery = `mutation($i: RegisterConnectorInput) { registerConnector(input: $i) { id } }`
	info := func(change vars) vars {
		v := vars{"run_and_terminate": false, "buffering": false, "queue_threshold": 500, "queue_messages_size": 0.5}
		for k, x := range change {
			v[k] = x
		}
		return vars{"i": v}
	}
	const invalid, input = "GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT"
	for _, tt := range []struct {
		name  string
		cfg   openctitest.Config
		query string
		vars  vars
		code  string
		says  string
	}{
		{"fine", openctitest.Config{}, pingQuery, info(nil), "", ""},
		{"dates", openctitest.Config{}, pingQuery, info(vars{"next_run_datetime": "2025-04-17T15:24:00Z", "last_run_datetime": nil}), "", ""},
		{"syntax", openctitest.Config{}, "query {", nil, invalid, ""},
		{"unknown field", openctitest.Config{}, "{ about { version secret } }", nil, invalid, `Cannot query field "secret" on type "AppInfo"`},
		{"unknown root", openctitest.Config{}, "{ nothing }", nil, invalid, "nothing"},
		{"unknown argument", openctitest.Config{}, `{ connector(id: "a", no: 1) { id } }`, nil, invalid, `Unknown argument "no"`},
		{"missing argument", openctitest.Config{}, "{ connector { id } }", nil, invalid, ""},
		{"no selection", openctitest.Config{}, "{ about }", nil, invalid, ""},
		{"union field", openctitest.Config{}, `{ stixObjectOrStixRelationship(id: "a") { id } }`, nil, invalid, ""},
		{"undeclared variable", openctitest.Config{}, `{ connector(id: $x) { id } }`, nil, invalid, ""},
		{"unused variable", openctitest.Config{}, `query($x: String) { about { version } }`, nil, invalid, ""},
		{"variable of the wrong type", openctitest.Config{}, `query($x: Int) { connector(id: $x) { id } }`, nil, invalid, ""},
		{"nullable variable", openctitest.Config{}, `query($x: String) { connector(id: $x) { id } }`, nil, invalid, ""},
		{"variable left out", openctitest.Config{}, `query($x: String!) { connector(id: $x) { id } }`, nil, input, ""},
		{"number for a text", openctitest.Config{}, `query($x: String!) { connector(id: $x) { id } }`, vars{"x": 7}, input, ""},
		{"unknown input field", openctitest.Config{}, pingQuery, info(vars{"speed": 1}), input, `Field "speed" is not defined by type "ConnectorInfoInput"`},
		{"text for a number", openctitest.Config{}, pingQuery, info(vars{"queue_threshold": "500"}), input, ""},
		{"text for a boolean", openctitest.Config{}, pingQuery, info(vars{"buffering": "false"}), input, ""},
		{"null for a boolean", openctitest.Config{}, pingQuery, info(vars{"buffering": nil}), input, ""},
		{"no date", openctitest.Config{}, pingQuery, info(vars{"next_run_datetime": "tomorrow"}), input, ""},
		{"required input field left out", openctitest.Config{}, pingQuery, vars{"i": vars{"buffering": true}}, input, ""},
		{"unknown type of connector", openctitest.Config{}, registerQuery, vars{"i": vars{"id": "1", "name": "n", "type": "external_import"}}, input, ""},
		{"not an object", openctitest.Config{}, registerQuery, vars{"i": []int{1}}, input, ""},
		{"fraction for a whole number", openctitest.Config{}, `mutation($n: Int) { workEdit(id: "w") { addExpectations(expectations: $n) } }`, vars{"n": 1.5}, input, ""},
		{"multi-part on 7", openctitest.Config{}, `mutation { workAdd(connectorId: "c1", isMultiPartWork: true) { id } }`, nil, "", ""},
		{"multi-part before 7", openctitest.Config{Version: "6.9.0"}, `mutation { workAdd(connectorId: "c1", isMultiPartWork: true) { id } }`, nil, invalid, `Unknown argument "isMultiPartWork" on field "Mutation.workAdd"`},
		{"timestamp on an older platform", openctitest.Config{NoStateTimestamp: true}, `{ connector(id: "c1") { connector_state_timestamp } }`, nil, invalid, `"connector_state_timestamp"`},
		{"everything", openctitest.Config{}, `{ connector(id: "c1") { __typename id connector_state connector_state_timestamp connector_user_id
			connector_queue_details { messages_number messages_size } config { push_routing push_exchange } } }`, nil, "", ""},
		{"fragments and aliases", openctitest.Config{}, `query { a: connector(id: "c1") { ...f ... on Connector { connector_state } } } fragment f on Connector { x: id }`, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, tt.cfg)
			p.mustRegister()
			r := p.ask(tt.query, tt.vars)
			if r.code() != tt.code || (tt.code != "" && (r.status != 400 || r.Data != nil)) || (tt.code == "" && r.Errors != nil) {
				t.Fatalf("answered %d %+v", r.status, r)
			}
			if tt.code != "" && !strings.Contains(r.Errors[0].Message, tt.says) {
				t.Errorf("message %q does not say %q", r.Errors[0].Message, tt.says)
			}
			if tt.code != "" && (len(p.Pings()) > 0 || len(p.Works()) > 0 || len(p.Registrations()) != 1) {
				t.Error("a refused operation was carried out")
			}
		})
	}
}

func TestRequestsAreHeldAgainstTheProtocol(t *testing.T) {
	p := start(t, openctitest.Config{})
	about := []byte(`{"query":"{about{version}}"}`)
	for name, tt := range map[string]struct {
		header http.Header
		body   []byte
		status int
		code   string
	}{
		"fine":            {headers(), about, 200, ""},
		"no token":        {http.Header{"Content-Type": {"application/json"}}, about, 200, "AUTH_REQUIRED"},
		"no bearer":       {http.Header{"Content-Type": {"application/json"}, "Authorization": {token}}, about, 200, "AUTH_REQUIRED"},
		"wrong token":     {http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer x" + token}}, about, 200, "AUTH_REQUIRED"},
		"no content type": {http.Header{"Authorization": {"Bearer " + token}}, about, 400, "BAD_REQUEST"},
		"no JSON":         {headers(), []byte(`query`), 400, "BAD_REQUEST"},
		"two objects":     {headers(), []byte(`{"query":"{about{version}}"}{}`), 400, "BAD_REQUEST"},
		"no query":        {headers(), []byte(`{}`), 400, "BAD_REQUEST"},
		"no operation":    {headers(), []byte(`{"query":"query a{about{version}}","operationName":"b"}`), 400, "BAD_REQUEST"},
	} {
		r, err := p.post(tt.header, tt.body)
		if err != nil || r.status != tt.status || r.code() != tt.code {
			t.Errorf("%s: %d %+v, %v", name, r.status, r, err)
		}
	}
	p.RevokeToken()
	if r := p.ask("{about{version}}", nil); r.code() != "AUTH_REQUIRED" {
		t.Errorf("a revoked token: %+v", r)
	}
	p.AcceptToken(token)
	if r := p.ask("{about{version}}", nil); r.Errors != nil {
		t.Errorf("an accepted token: %+v", r)
	}
	resp, err := http.Get(p.url)
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	if _, err := openctitest.New(openctitest.Config{Without: []string{"Connector.nothing"}}); err == nil {
		t.Error("leaving out what is not there was accepted")
	}
}

// Apart from the union, whose members are many and no two platforms' the same, the schema is a part of the platform's:
// what is valid here is valid there.
func TestTheSchemaIsPartOfThePlatforms(t *testing.T) {
	real, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "spec", "opencti.graphql"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the description of the platform's interface is not beside the repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	schema, err := openctitest.NewestSchema()
	if err != nil {
		t.Fatal(err)
	}
	// The one thing that the description has otherwise than the platform.
	theirs := load(t, strings.Replace(string(real), "type File { id: String!", "type File { id: ID!", 1)+beyond)
	for name, ours := range schema.Types {
		def := theirs.Types[name]
		switch {
		case ours.BuiltIn || ours.Kind == ast.Union || slices.Contains(schema.Types["StixObjectOrStixRelationship"].Types, name):
		case def == nil || def.Kind != ours.Kind:
			t.Errorf("%s is not the platform's", name)
		default:
			compare(t, ours, def)
		}
	}
}

// beyond is what OpenCTI's schema says of users and connectors, and of what an operator does, besides what the description
// holds of it (user.graphql, connector.graphql and opencti.graphql of opencti-graphql).
const beyond = `
extend type Mutation { draftWorkspaceAdd(input: DraftWorkspaceAddInput!): DraftWorkspace }
input DraftWorkspaceAddInput { name: String! createdBy: String description: String entity_id: String objectAssignee: [String] objectParticipant: [String] }
type DraftWorkspace { id: ID! name: String! }
extend type Query { connectors: [Connector!]! me: MeUser! }
type MeUser { id: ID! name: String! user_email: String! capabilities: [Capability!]! effective_confidence_level: EffectiveConfidenceLevel }
type Capability { name: String! }
type EffectiveConfidenceLevel { max_confidence: Int! }
extend type Connector { auto: Boolean only_contextual: Boolean built_in: Boolean jwks: String! }
extend input RegisterConnectorInput { xtm_one_intent: String }
extend type Mutation { resetStateConnector(id: ID!): Connector }
`

func load(t *testing.T, text string) *ast.Schema {
	t.Helper()
	schema, err := gqlparser.LoadSchema(&ast.Source{Input: text})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// compare wants all of ours among theirs, and among ours all that theirs insist on being given.
func compare(t *testing.T, ours, theirs *ast.Definition) {
	t.Helper()
	for _, v := range ours.EnumValues {
		if theirs.EnumValues.ForName(v.Name) == nil {
			t.Errorf("%s.%s is not the platform's", ours.Name, v.Name)
		}
	}
	for _, f := range ours.Fields {
		known := theirs.Fields.ForName(f.Name)
		if strings.HasPrefix(f.Name, "__") {
			continue
		}
		if known == nil || known.Type.String() != f.Type.String() {
			t.Errorf("%s.%s: %s is not the platform's", ours.Name, f.Name, f.Type)
			continue
		}
		for _, a := range f.Arguments {
			if k := known.Arguments.ForName(a.Name); k == nil || k.Type.String() != a.Type.String() {
				t.Errorf("%s.%s(%s: %s) is not the platform's", ours.Name, f.Name, a.Name, a.Type)
			}
		}
		for _, a := range known.Arguments {
			if a.Type.NonNull && a.DefaultValue == nil && f.Arguments.ForName(a.Name) == nil {
				t.Errorf("%s.%s needs %s", ours.Name, f.Name, a.Name)
			}
		}
	}
	for _, f := range theirs.Fields {
		if ours.Kind == ast.InputObject && f.Type.NonNull && f.DefaultValue == nil && ours.Fields.ForName(f.Name) == nil {
			t.Errorf("%s needs %s", ours.Name, f.Name)
		}
	}
}
