package openctitest

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// root is what an operation of a kind can ask for.
func (p *Platform) root(kind ast.Operation) object {
	if kind == ast.Mutation {
		return object{
			"registerConnector": method(p.register),
			"pingConnector":     method(p.ping),
			"workAdd":           method(p.workAdd),
			"workEdit":          method(p.workEdit),
		}
	}
	return object{
		"about": object{"version": p.version()},
		"connector": method(func(args map[string]any) (any, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			c := p.connectors[text(args["id"])]
			if c == nil {
				return nil, nil
			}
			return p.describe(c), nil
		}),
		"work": method(func(args map[string]any) (any, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if w := p.aliveWork(text(args["id"])); w != nil {
				return w.describe(), nil
			}
			return nil, nil
		}),
		"stixObjectOrStixRelationship": method(func(args map[string]any) (any, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.cfg.NoKnowledge {
				return nil, fail("FORBIDDEN_ACCESS", "You are not allowed to do this.")
			}
			id := text(args["id"])
			if !p.held[id] {
				return nil, nil
			}
			return object{"__typename": typeOf(id), "id": id}, nil
		}),
	}
}

// version is what the platform calls itself.
func (p *Platform) version() string {
	if p.cfg.Before7 {
		return "6.9.0"
	}
	return "7.260817.0"
}

// typeOf names the GraphQL type of a STIX id.
func typeOf(id string) string {
	kind, _, _ := strings.Cut(id, "--")
	switch kind {
	case "identity":
		return "Identity"
	case "intrusion-set", "threat-actor":
		return "IntrusionSet"
	case "malware":
		return "Malware"
	case "marking-definition":
		return "MarkingDefinition"
	case "report":
		return "Report"
	case "relationship":
		return "StixCoreRelationship"
	}
	return "Indicator"
}
