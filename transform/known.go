package transform

import (
	"bytes"
	"strings"
)

// knownTypes are the types that OpenCTI imports, each mapped to its name so that a look-up by bytes also gives the string.
var knownTypes = func() map[string]string {
	m := make(map[string]string, 100)
	for _, list := range []string{
		// Entities.
		`attack-pattern campaign case-incident x-opencti-case-incident case-rfi x-opencti-case-rfi case-rft
		x-opencti-case-rft channel course-of-action data-component x-mitre-data-component data-source x-mitre-data-source
		event external-reference feedback x-opencti-feedback grouping identity incident indicator infrastructure
		intrusion-set language location malware malware-analysis marking-definition narrative note observed-data opinion
		report task x-opencti-task threat-actor tool vulnerability security-coverage label vocabulary kill-chain-phase`,
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
			m[name] = name
		}
	}
	return m
}()

// holdsObjects says whether a type keeps its object_refs; on others they are not STIX, or not what OpenCTI is used to get.
func holdsObjects(typ string) bool {
	switch typ {
	case "report", "note", "opinion", "observed-data":
		return true
	}
	return false
}

// mayRefer says whether an id may be referred to: its type is known, or it is no STIX id and only the receiver can tell.
func mayRefer(id []byte) bool {
	typ, _, isSTIX := bytes.Cut(id, []byte("--"))
	if !isSTIX {
		return len(id) > 0
	}
	_, known := knownTypes[string(typ)]
	return known
}
