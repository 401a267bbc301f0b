package relations

import (
	"slices"
	"strings"
)

// End is what is known of an object at an end of a relation.
type End struct {
	// ID is a STIX id, or another under which OpenCTI holds the object.
	ID string
	// Kind is what the object tells beyond its id; 0 where it is not known, or where there is no more to tell.
	Kind uint8
}

// isActor reports whether the end is someone who acts, or what they do under one name.
func (e End) isActor() bool {
	typ, _, _ := strings.Cut(e.ID, "--")
	return slices.Contains([]string{"intrusion-set", "campaign", "threat-actor"}, typ)
}

// entityType writes the name of an entity type, or of the STIX type that becomes it, in one way: OpenCTI's are the STIX
// types with capitals, but for a file, and for types that had a prefix before OpenCTI knew them.
func entityType(name string) string {
	name = strings.ToLower(name)
	for _, prefix := range []string{"x-opencti-", "x-mitre-"} {
		name = strings.TrimPrefix(name, prefix)
	}
	if name == "file" {
		return "stixfile"
	}
	return name
}

// entityTypes returns the entity types that a table means by one name: older releases have one type for all threat actors.
func entityTypes(name string) []string {
	if kinds := kindsOf(strings.ToLower(name)); kinds != nil {
		return kinds
	}
	return []string{entityType(name)}
}
