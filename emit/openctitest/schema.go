package openctitest

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
)

// releases holds what a connector uses of the schema, a file for each release of which a platform can be. A release between two
// has what the earlier one has.
//
//go:embed releases
var releases embed.FS

// later is what the releases after the newest file have added.
const later = `extend type Connector { last_seen_at: DateTime }`

// schemaFile names the file of the newest release that is no newer than a version.
func schemaFile(cfg Config) (string, error) {
	found := ""
	for _, r := range []struct {
		major, minor int
		file         string
	}{{5, 5, "5.5"}, {5, 12, "5.12"}, {6, 0, "6.0"}, {6, 1, "6.1"}, {6, 8, "6.8"}, {7, 0, "7"}} {
		if cfg.since(r.major, r.minor) {
			found = r.file
		}
	}
	if found == "" {
		return "", fmt.Errorf("no schema of OpenCTI %s", cfg.Version)
	}
	return "releases/" + found + ".graphql", nil
}

// loadSchema returns the schema of the configured release, without some members. It fails for members that no release has.
func loadSchema(cfg Config) (*ast.Schema, error) {
	file, err := schemaFile(cfg)
	if err != nil {
		return nil, err
	}
	const newestFile = "releases/7.graphql"
	doc, err := parseSchema(file, cfg.later)
	if err != nil {
		return nil, err
	}
	all, err := parseSchema(newestFile, true)
	if err != nil {
		return nil, err
	}
	for _, member := range cfg.without() {
		if known := dropMember(all, member); !dropMember(doc, member) && !known {
			return nil, fmt.Errorf("no member %q to leave out", member)
		}
	}
	dropUnused(doc)
	return validator.ValidateSchemaDocument(doc)
}

// parseSchema reads a file of a release. The types of a union of which nothing else is said are objects and relationships of STIX.
func parseSchema(file string, withLater bool) (*ast.SchemaDocument, error) {
	text, err := releases.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	sources := []*ast.Source{validator.Prelude, {Name: file, Input: string(text)}}
	if withLater {
		sources = append(sources, &ast.Source{Name: "later", Input: later})
	}
	doc, err := parser.ParseSchemas(sources...)
	if err != nil {
		return nil, err
	}
	var rest strings.Builder
	for _, def := range doc.Definitions {
		for _, name := range def.Types {
			if doc.Definitions.ForName(name) != nil {
				continue
			}
			kind := "BasicObject & StixObject"
			if strings.HasSuffix(name, "Relationship") {
				kind = "BasicRelationship & StixRelationship"
			}
			fmt.Fprintf(&rest, "type %s implements %s { id: ID! standard_id: String! x_opencti_stix_ids: [StixId] }\n", name, kind)
		}
	}
	types, err := parser.ParseSchema(&ast.Source{Name: "types", Input: rest.String()})
	if err != nil {
		return nil, err
	}
	doc.Merge(types)
	return doc, nil
}

// dropMember takes a member out, or a whole type whose name stands alone. It reports whether there was one.
func dropMember(doc *ast.SchemaDocument, member string) bool {
	path := strings.Split(member, ".")
	found := false
	for _, def := range slices.Concat(doc.Definitions, doc.Extensions) {
		if def.Name != path[0] || len(path) < 2 || len(path) > 3 {
			continue
		}
		field := def.Fields.ForName(path[1])
		switch {
		case field == nil:
		case len(path) == 2:
			def.Fields = slices.DeleteFunc(def.Fields, func(f *ast.FieldDefinition) bool { return f == field })
			found = true
		default:
			before := len(field.Arguments)
			field.Arguments = slices.DeleteFunc(field.Arguments, func(a *ast.ArgumentDefinition) bool { return a.Name == path[2] })
			found = found || len(field.Arguments) < before
		}
	}
	return found
}

// dropUnused takes out what has no member left, and input types that nothing takes any more.
func dropUnused(doc *ast.SchemaDocument) {
	taken := map[string]bool{}
	for _, def := range slices.Concat(doc.Definitions, doc.Extensions) {
		for _, f := range def.Fields {
			taken[f.Type.Name()] = true
			for _, a := range f.Arguments {
				taken[a.Type.Name()] = true
			}
		}
	}
	doc.Extensions = slices.DeleteFunc(doc.Extensions, func(d *ast.Definition) bool { return len(d.Fields) == 0 })
	doc.Definitions = slices.DeleteFunc(doc.Definitions, func(d *ast.Definition) bool { return d.Kind == ast.InputObject && !taken[d.Name] })
}
