package openctitest

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
)

//go:embed schema.graphql
var schemaText string

// newest is the release that a platform is unless it is told otherwise.
const newest = "7.260817.0"

// checkVersion wants a version whose first two numbers can be told.
func checkVersion(version string) error {
	parts := strings.SplitN(version, ".", 3)
	for _, part := range parts[:min(2, len(parts))] {
		if _, err := strconv.Atoi(part); err != nil {
			return fmt.Errorf("read version %q: %w", version, err)
		}
	}
	return nil
}

// since reports whether the platform is of a release or a later one.
func (c Config) since(major, minor int) bool {
	parts := append(strings.Split(c.Version, "."), "0")
	first, _ := strconv.Atoi(parts[0])
	second, _ := strconv.Atoi(parts[1])
	return first > major || first == major && second >= minor
}

// protectsBatches reports whether one request may hold only so many calls of the same field.
func (c Config) protectsBatches() bool { return c.since(6, 1) }

// without lists the members that the schema lacks.
func (c Config) without() []string {
	members := slices.Clone(c.Without)
	if !c.since(7, 0) {
		members = append(members, "Mutation.workAdd.isMultiPartWork", "Query.isWorkAlive")
	}
	if !c.since(6, 1) {
		members = append(members, "Query.stixObjectOrStixRelationships")
	}
	if c.NoStateTimestamp {
		members = append(members, "Connector.connector_state_timestamp")
	}
	return members
}

// loadSchema returns the schema without some members, each written as Type.member or Type.field.argument.
func loadSchema(without []string) (*ast.Schema, error) {
	doc, err := parser.ParseSchemas(validator.Prelude, &ast.Source{Name: "schema.graphql", Input: schemaText})
	if err != nil {
		return nil, err
	}
	for _, member := range without {
		if !dropMember(doc, member) {
			return nil, fmt.Errorf("no member %q to leave out", member)
		}
	}
	return validator.ValidateSchemaDocument(doc)
}

func dropMember(doc *ast.SchemaDocument, member string) bool {
	path := strings.Split(member, ".")
	def := doc.Definitions.ForName(path[0])
	if def == nil || len(path) < 2 || len(path) > 3 {
		return false
	}
	field := def.Fields.ForName(path[1])
	if field == nil {
		return false
	}
	if len(path) == 2 {
		def.Fields = slices.DeleteFunc(def.Fields, func(f *ast.FieldDefinition) bool { return f == field })
		return true
	}
	before := len(field.Arguments)
	field.Arguments = slices.DeleteFunc(field.Arguments, func(a *ast.ArgumentDefinition) bool { return a.Name == path[2] })
	return len(field.Arguments) < before
}
