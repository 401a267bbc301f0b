package openctitest

import (
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
)

// NewestSchema is that of the newest release of which there is one.
func NewestSchema() (*ast.Schema, error) {
	doc, err := parseSchema("releases/7.graphql", false)
	if err != nil {
		return nil, err
	}
	return validator.ValidateSchemaDocument(doc)
}
