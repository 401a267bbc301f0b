package openctitest

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
)

//go:embed schema.graphql
var schemaText string

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
