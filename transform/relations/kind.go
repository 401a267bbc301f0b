package relations

import "strings"

// The kinds of entities that share one STIX type, so that only the object tells them apart; 0 is none, or an unknown one.
// They are kept on disk: a number never gets another meaning.
const (
	Individual uint8 = 1 + iota
	Organization
	Sector
	System
	SecurityPlatform

	City
	AdministrativeArea
	Country
	Region
	Position

	ThreatActorGroup
	ThreatActorIndividual
)

// kindNames are OpenCTI's entity types as [entityType] writes them.
var kindNames = [...]string{
	Individual: "individual", Organization: "organization", Sector: "sector", System: "system", SecurityPlatform: "securityplatform",
	City: "city", AdministrativeArea: "administrative-area", Country: "country", Region: "region", Position: "position",
	ThreatActorGroup: "threat-actor-group", ThreatActorIndividual: "threat-actor-individual",
}

// HasKinds says that objects of a STIX type can be of several entity types.
func HasKinds(stixType string) bool { return kindsOf(stixType) != nil }

// kindsOf returns the entity types that share a STIX type, nil where it stands for one alone.
func kindsOf(stixType string) []string {
	switch stixType {
	case "identity":
		return kindNames[Individual : SecurityPlatform+1]
	case "location":
		return kindNames[City : Position+1]
	case "threat-actor":
		return kindNames[ThreatActorGroup : ThreatActorIndividual+1]
	}
	return nil
}

// KindNamed returns the kind that OpenCTI's name of an entity type means, whether as GraphQL writes it (AdministrativeArea)
// or as the type itself (Administrative-Area); 0 when it is none of those that share a STIX type.
func KindNamed(name string) uint8 {
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "") }
	for kind, known := range kindNames {
		if kind != 0 && plain(known) == plain(name) {
			return uint8(kind)
		}
	}
	return 0
}

// KindOf returns the kind of a STIX object of this type, by the rules of OpenCTI's Python client, which the workers use.
// member returns the text of a member, "" where it holds something else, and whether it is there at all.
func KindOf(stixType string, member func(name string) (text string, has bool)) uint8 {
	switch stixType {
	case "identity":
		return identity(member)
	case "location":
		return location(member)
	case "threat-actor":
		return threatActor(member)
	}
	return 0
}

// identity goes by the class; what is of no class that the client knows is an organization.
func identity(member func(string) (string, bool)) uint8 {
	kind := Organization
	switch class, _ := member("identity_class"); class {
	case "individual":
		kind = Individual
	case "class":
		kind = Sector
	case "system":
		kind = System
	case "securityplatform":
		kind = SecurityPlatform
	}
	// The client does not look at the type; where it says something else, that is no sure ground.
	if named, has := member("x_opencti_type"); has && KindNamed(named) != kind {
		return 0
	}
	return kind
}

// location goes by the type, else by the smallest of the places that the object names.
func location(member func(string) (string, bool)) uint8 {
	if named, has := member("x_opencti_location_type"); has {
		return KindNamed(named)
	}
	has := func(name string) bool { _, has := member(name); return has }
	switch {
	case has("extensions"):
		// The type may stand in there.
		return 0
	case has("city"):
		return City
	case has("administrative_area"):
		// The client passes over it, to the country or region.
		return 0
	case has("country"):
		return Country
	case has("region"):
		return Region
	}
	return Position
}

// threatActor goes by the type, else by the resources.
func threatActor(member func(string) (string, bool)) uint8 {
	individual := false
	if named, has := member("x_opencti_type"); has {
		individual = KindNamed(named) == ThreatActorIndividual
	} else if _, has := member("extensions"); has {
		// The type may stand in there.
		return 0
	} else {
		level, _ := member("resource_level")
		individual = strings.EqualFold(level, "individual")
	}
	if individual {
		return ThreatActorIndividual
	}
	return ThreatActorGroup
}
