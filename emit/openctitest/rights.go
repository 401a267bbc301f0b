package openctitest

import (
	"slices"
	"strings"
)

// roleConnector is what OpenCTI's own role for connectors may do.
var roleConnector = []string{
	"KNOWLEDGE_KNUPDATE_KNDELETE", "KNOWLEDGE_KNUPDATE_KNBYPASSFIELDS", "KNOWLEDGE_KNUPLOAD", "KNOWLEDGE_KNASKIMPORT",
	"KNOWLEDGE_KNGETEXPORT_KNASKEXPORT", "KNOWLEDGE_KNENRICHMENT", "CONNECTORAPI", "KNOWLEDGE_KNUPDATE_KNBYPASSREFERENCE",
	"MODULES_MODMANAGE", "TAXIIAPI", "INGESTION", "SETTINGS_SETMARKINGS", "SETTINGS_SETLABELS",
}

// guarded are the members of the schema that need a capability, any one of those that are named. The others are for whoever
// has a token.
var guarded = map[string][]string{
	"Query.connector":                     {"MODULES"},
	"Query.connectors":                    {"MODULES"},
	"Query.work":                          {"MODULES"},
	"Query.stixObjectOrStixRelationship":  {"KNOWLEDGE", "EXPLORE"},
	"Query.stixObjectOrStixRelationships": {"KNOWLEDGE", "EXPLORE"},
	"Query.schemaRelationsTypesMapping":   {"KNOWLEDGE"},
	"Mutation.registerConnector":          {"CONNECTORAPI"},
	"Mutation.pingConnector":              {"CONNECTORAPI"},
	"Mutation.resetStateConnector":        {"MODULES_MODMANAGE"},
	"Mutation.workAdd":                    {"KNOWLEDGE_KNASKIMPORT", "KNOWLEDGE_KNGETEXPORT_KNASKEXPORT"},
	"Mutation.workEdit":                   {"KNOWLEDGE_KNASKIMPORT", "KNOWLEDGE_KNGETEXPORT_KNASKEXPORT"},
	"Mutation.stixBundlePush":             {"CONNECTORAPI"},
	"Mutation.uploadPending":              {"KNOWLEDGE_KNASKIMPORT"},
	"Mutation.draftWorkspaceAdd":          {"KNOWLEDGE_KNUPDATE"},
	"ConnectorConfig.connection":          {"CONNECTORAPI"},
	"ConnectorConfig.s3":                  {"CONNECTORAPI"},
}

func (c Config) capabilities() []string {
	if c.Capabilities == nil {
		return roleConnector
	}
	return c.Capabilities
}

// may reports whether the user has what a member needs. As there, a user has each capability whose name is a part of that of
// one that was given: MODULES with MODULES_MODMANAGE.
func (p *Platform) may(member string) bool {
	needs := guarded[member]
	if needs == nil {
		return true
	}
	p.mu.Lock()
	has := p.cfg.capabilities()
	p.mu.Unlock()
	return slices.Contains(has, "BYPASS") || slices.ContainsFunc(needs, func(need string) bool {
		return slices.ContainsFunc(has, func(h string) bool { return strings.Contains(h, need) })
	})
}

// me is the user of the token.
func (p *Platform) me(map[string]any) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	capabilities := []object{}
	for _, name := range p.cfg.capabilities() {
		capabilities = append(capabilities, object{"name": name})
	}
	user := object{
		"id": p.cfg.UserID, "name": "[C] ThreatMatch", "user_email": "threatmatch@opencti.invalid",
		"capabilities": capabilities, "effective_confidence_level": nil,
	}
	if !p.cfg.NoConfidence {
		user["effective_confidence_level"] = object{"max_confidence": 100}
	}
	return user, nil
}
