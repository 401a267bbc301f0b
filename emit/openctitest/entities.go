package openctitest

import (
	"strings"
)

// stixTypes are the types of STIX objects that the platform takes, apart from relationships, sightings, and those of which
// only the object tells what the platform makes of them. Its workers refuse every other.
const stixTypes = `
	attack-pattern campaign case-incident x-opencti-case-incident case-rfi x-opencti-case-rfi case-rft x-opencti-case-rft
	channel course-of-action data-component x-mitre-data-component data-source x-mitre-data-source event external-reference
	feedback x-opencti-feedback grouping incident indicator infrastructure intrusion-set language malware malware-analysis
	marking-definition narrative note observed-data opinion report task x-opencti-task tool vulnerability security-coverage
	label vocabulary kill-chain-phase
	autonomous-system directory domain-name email-addr email-message email-mime-part-type artifact file x509-certificate
	ipv4-addr ipv6-addr mac-addr mutex network-traffic process software url user-account windows-registry-key
	windows-registry-value-type hostname cryptographic-key cryptocurrency-wallet text user-agent bank-account phone-number
	credential tracking-number payment-card media-content simple-observable persona ssh-key ai-prompt imei iccid imsi`

// entityTypes maps a STIX type to the platform's type of entity, "intrusion-set" to "Intrusion-Set".
var entityTypes = func() map[string]string {
	types := map[string]string{}
	for _, t := range strings.Fields(stixTypes) {
		parts := strings.Split(strings.TrimPrefix(strings.TrimPrefix(t, "x-opencti-"), "x-mitre-"), "-")
		for i, part := range parts {
			parts[i] = strings.ToUpper(part[:1]) + part[1:]
		}
		types[t] = strings.Join(parts, "-")
	}
	for t, entity := range map[string]string{
		"file": "StixFile", "ipv4-addr": "IPv4-Addr", "ipv6-addr": "IPv6-Addr", "ssh-key": "SSH-Key", "ai-prompt": "AI-Prompt",
		"imei": "IMEI", "iccid": "ICCID", "imsi": "IMSI",
	} {
		types[t] = entity
	}
	return types
}()

// entityType returns the type that the platform gives to an object, as its workers work it out: by the STIX type, for
// an identity, a location and a threat actor by further members. It is empty for a type that the platform does not take.
func entityType(stixType string, object map[string]any) string {
	has := func(member string) bool { _, ok := object[member]; return ok }
	switch stixType {
	case "relationship":
		return text(object["relationship_type"])
	case "sighting":
		return "stix-sighting-relationship"
	case "identity":
		switch text(object["identity_class"]) {
		case "individual":
			return "Individual"
		case "class":
			return "Sector"
		case "system":
			return "System"
		case "securityplatform":
			return "SecurityPlatform"
		}
		return "Organization"
	case "location":
		switch {
		case has("x_opencti_location_type"):
			return text(object["x_opencti_location_type"])
		case has("city"):
			return "City"
		case has("country"):
			return "Country"
		case has("region"):
			return "Region"
		}
		return "Position"
	case "threat-actor":
		kind := text(object["resource_level"])
		if has("x_opencti_type") {
			kind = strings.TrimPrefix(strings.ToLower(text(object["x_opencti_type"])), "threat-actor-")
		}
		if strings.EqualFold(kind, "individual") {
			return "Threat-Actor-Individual"
		}
		return "Threat-Actor-Group"
	}
	return entityTypes[stixType]
}

// stixType returns the type that an id begins with, empty for an id that is not one of STIX.
func stixType(id string) string {
	kind, _, found := strings.Cut(id, "--")
	if !found {
		return ""
	}
	return kind
}

// isSupported reports whether workers take an object or a reference of this id. They let pass what is not a STIX id.
func isSupported(id string) bool {
	kind := stixType(id)
	switch kind {
	case "", "relationship", "sighting", "identity", "location", "threat-actor":
		return true
	}
	return entityTypes[kind] != ""
}
