package transform

import (
	"slices"
	"strings"
)

// identifying are the members, beside type and id, by which OpenCTI finds the object that a message is about, by its type
// here: those that its own id is made from, those without which its client does not import such an object, those that decide
// what the type is there, and those for which the client puts something in the place of nothing (is_family, count). Types
// that are not here are known by their name, and observables by their value.
var identifying = func() map[string][]string {
	m := make(map[string][]string, 60)
	for line := range strings.Lines(`
attack-pattern: name x_mitre_id
course-of-action: name x_mitre_id
malware: name is_family
threat-actor: name x_opencti_type resource_level
identity: name identity_class x_opencti_type
location: name x_opencti_location_type latitude longitude city country region administrative_area
incident: name created
case-incident: name created
x-opencti-case-incident: name created
case-rfi: name created
x-opencti-case-rfi: name created
case-rft: name created
x-opencti-case-rft: name created
task: name created
x-opencti-task: name created
grouping: name context created
report: name published
note: abstract content created
opinion: opinion created
observed-data: first_observed last_observed number_observed object_refs objects
malware-analysis: product result_name submitted
security-coverage: name covered_ref
indicator: name pattern pattern_type valid_from x_opencti_main_observable_type
relationship: relationship_type source_ref target_ref start_time stop_time
sighting: sighting_of_ref where_sighted_refs observed_data_refs first_seen last_seen count x_opencti_negative x_opencti_sighting_of_ref x_opencti_where_sighted_refs
autonomous-system: number name
directory: path
email-message: from_ref subject body
email-mime-part-type: body content_type content_disposition
artifact: hashes url
file: hashes name
x509-certificate: hashes serial_number subject
mutex: name
network-traffic: start end src_ref dst_ref src_port dst_port protocols
process: pid command_line
software: name cpe swid vendor version
user-account: account_type user_id account_login
windows-registry-key: key values
windows-registry-value-type: name data data_type
bank-account: iban
payment-card: card_number
media-content: url
persona: persona_name persona_type
simple-observable: key value
ssh-key: fingerprint_sha256
`) {
		if typ, names, found := strings.Cut(line, ":"); found {
			m[typ] = strings.Fields(names)
		}
	}
	return m
}()

// byName are the members by which all other types are known.
var byName = []string{"name", "value"}

// identifiedBy returns the members that [identifying] has for a type.
func identifiedBy[T string | []byte](typ T) []string {
	if own, listed := identifying[string(typ)]; listed {
		return own
	}
	return byName
}

// isCommon says whether a member is one that every object is identified by.
func isCommon(name string) bool { return name == "type" || name == "id" || name == "spec_version" }

// identifies says whether OpenCTI needs a member to find the object that a message is about.
func identifies(typ, name string) bool {
	return isCommon(name) || slices.Contains(identifiedBy(typ), name)
}
