package opencti_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/Khan/genqlient/generate"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

func TestTheGeneratedCodeIsCurrent(t *testing.T) {
	config, err := generate.ReadAndValidateConfig("genqlient.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := generate.Generate(config)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date: run go generate", filepath.Base(path))
		}
	}
}

// The schema here is written for this package; the platform's own must accept the same operations.
func TestThePlatformsSchemaAcceptsTheOperations(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "spec", "opencti.graphql"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the description of the platform's interface is not beside the repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	// The description leaves out what an operator does, and what releases since have added.
	const besides = `
		extend type Connector { last_seen_at: DateTime }
		extend type Query { connectors: [Connector!]! me: MeUser! }
		type MeUser { id: ID! name: String! user_email: String! capabilities: [Capability!]! effective_confidence_level: EffectiveConfidenceLevel }
		type Capability { name: String! }
		type EffectiveConfidenceLevel { max_confidence: Int! }
		extend type Mutation {
			resetStateConnector(id: ID!): Connector
			draftWorkspaceAdd(input: DraftWorkspaceAddInput!): DraftWorkspace
		}
		input DraftWorkspaceAddInput { name: String! createdBy: String description: String entity_id: String }
		type DraftWorkspace { id: ID! name: String! }`
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "opencti.graphql", Input: string(text)}, &ast.Source{Name: "besides", Input: besides})
	if err != nil {
		t.Fatal(err)
	}
	var operations []byte
	for _, name := range []string{"operations.graphql", "inspection.graphql"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		operations = append(operations, text...)
	}
	if _, errs := gqlparser.LoadQueryWithRules(schema, string(operations), rules.NewDefaultRules()); len(errs) > 0 {
		t.Error(errs)
	}
}
