package transform

import "strings"

// stixType is a type that OpenCTI imports.
type stixType struct {
	name string
	// holds says that the type is a container in OpenCTI, which keeps its object_refs; what they say on others becomes relations.
	holds bool
	// observable says that it is something that was seen, such as an address.
	observable bool
}

// knownTypes are the types that OpenCTI imports, each under its name, so that a look-up by bytes also gives the string.
var knownTypes = func() map[string]stixType {
	m := make(map[string]stixType, 100)
	for name := range strings.FieldsSeq(`report note opinion observed-data grouping case-incident x-opencti-case-incident
		case-rfi x-opencti-case-rfi case-rft x-opencti-case-rft feedback x-opencti-feedback task x-opencti-task`) {
		m[name] = stixType{name: name, holds: true}
	}
	for i, list := range []string{
		// Entities.
		`attack-pattern campaign channel course-of-action data-component x-mitre-data-component data-source
		x-mitre-data-source event external-reference identity incident indicator infrastructure intrusion-set language location
		malware malware-analysis marking-definition narrative threat-actor tool vulnerability security-coverage label vocabulary
		kill-chain-phase`,
		// Observables.
		`autonomous-system directory domain-name email-addr email-message email-mime-part-type artifact file
		x509-certificate ipv4-addr ipv6-addr mac-addr mutex network-traffic process software url user-account
		windows-registry-key windows-registry-value-type hostname cryptographic-key cryptocurrency-wallet text user-agent
		bank-account phone-number credential tracking-number payment-card media-content simple-observable persona ssh-key
		ai-prompt imei iccid imsi`,
		// Relations.
		`relationship sighting`,
	} {
		for name := range strings.FieldsSeq(list) {
			m[name] = stixType{name: name, observable: i == 1}
		}
	}
	return m
}()

// mayRefer says whether an id may be referred to: it is of a length that ids have, and its type is known, or it is no STIX id and only the receiver can tell.
func mayRefer[T string | []byte](id T) bool {
	if len(id) > longestID {
		return false
	}
	typ, isSTIX := typeIn(id)
	if !isSTIX {
		return len(id) > 0
	}
	_, known := knownTypes[string(typ)]
	return known
}

// typeIn returns the type in a STIX id; false says that it is no such id.
func typeIn[T string | []byte](id T) (typ T, isSTIX bool) {
	for i := 0; i+1 < len(id); i++ {
		if id[i] == '-' && id[i+1] == '-' {
			return id[:i], true
		}
	}
	return id, false
}
