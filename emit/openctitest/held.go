package openctitest

import (
	"encoding/json"
	"strings"
)

// Held is what the platform knows an object by. What is left empty is made up: the ids from each other, the type from
// the STIX type of an id.
type Held struct {
	// ID is the internal id, a UUID, and StandardID the one that the platform gave it.
	ID, StandardID string
	// StixIDs are the further ids by which it has arrived.
	StixIDs []string
	// Type is the type of entity, such as "Country", or that of a relationship.
	Type string
}

// held is an object of the platform. It is not changed once it is stored, so that a snapshot may share it.
type held struct {
	Held
	json json.RawMessage // as it was imported last; nil if it was not
}

func (h *held) ids() []string { return append([]string{h.ID, h.StandardID}, h.StixIDs...) }

// describe returns the object as the schema has it.
func (h *held) describe() object {
	name := strings.ReplaceAll(h.Type, "-", "")
	switch stixType(h.StandardID) {
	case "relationship":
		name = "StixCoreRelationship"
	case "sighting":
		name = "StixSightingRelationship"
	}
	return object{"__typename": name, "id": h.ID, "standard_id": h.StandardID, "x_opencti_stix_ids": h.StixIDs}
}

type filter func(*held) bool

// groupFilter reads a FilterGroup; one that asks for nothing lets everything pass.
func groupFilter(group map[string]any) (filter, error) {
	var parts []filter
	for _, member := range list(group["filters"]) {
		f, _ := member.(map[string]any)
		part, err := idsFilter(f)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	for _, member := range list(group["filterGroups"]) {
		g, _ := member.(map[string]any)
		part, err := groupFilter(g)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	either := text(group["mode"]) == "or"
	return func(h *held) bool {
		for _, part := range parts {
			if part(h) == either {
				return either
			}
		}
		return !either || len(parts) == 0
	}, nil
}

// idsFilter reads a Filter. Of the platform's keys it knows "ids" only, which stands alone and means all ids of an object.
func idsFilter(f map[string]any) (filter, error) {
	keys := texts(f["key"])
	if len(keys) == 0 {
		return nil, fail("UNSUPPORTED_ERROR", "Incorrect filters format")
	}
	if len(keys) > 1 {
		return nil, fail("UNSUPPORTED_ERROR", "A filter with these multiple keys is not supported")
	}
	if keys[0] != "ids" {
		return nil, fail("UNSUPPORTED_ERROR", "Incorrect filter keys not existing in any schema definition")
	}
	wanted := map[string]bool{}
	for _, id := range texts(f["values"]) {
		wanted[id] = true
	}
	not, all := text(f["operator"]) == "not_eq", text(f["mode"]) == "and"
	return func(h *held) bool {
		hits := 0
		for _, id := range h.ids() {
			if wanted[id] {
				hits++
			}
		}
		if not {
			return hits == 0
		}
		return hits > 0 && (!all || hits == len(wanted))
	}, nil
}
