package relations

import (
	"encoding/json"
	"testing"
)

func TestKindsAreThoseOfTheWorkers(t *testing.T) {
	for _, tt := range []struct {
		typ, object string
		want        uint8
	}{
		{"identity", `{"identity_class":"individual"}`, Individual},
		{"identity", `{"identity_class":"organization"}`, Organization},
		{"identity", `{"identity_class":"class"}`, Sector},
		{"identity", `{"identity_class":"system"}`, System},
		{"identity", `{"identity_class":"securityplatform"}`, SecurityPlatform},
		{"identity", `{"identity_class":"group"}`, Organization},
		{"identity", `{"identity_class":"unknown"}`, Organization},
		{"identity", `{"identity_class":7}`, Organization},
		{"identity", `{}`, Organization},
		{"identity", `{"identity_class":"class","x_opencti_type":"Sector"}`, Sector},
		{"identity", `{"identity_class":"organization","x_opencti_type":"Sector"}`, 0},
		{"identity", `{"x_opencti_type":"Sector"}`, 0},

		{"location", `{"x_opencti_location_type":"Administrative-Area","country":"DE"}`, AdministrativeArea},
		{"location", `{"x_opencti_location_type":"City"}`, City},
		{"location", `{"x_opencti_location_type":"Planet","city":"x"}`, 0},
		{"location", `{"x_opencti_location_type":null,"city":"x"}`, 0},
		{"location", `{"city":"Berlin","administrative_area":"DE-BE","country":"DE"}`, City},
		{"location", `{"administrative_area":"DE-BE","country":"DE"}`, 0},
		{"location", `{"country":"DE","region":"western-europe"}`, Country},
		{"location", `{"region":"western-europe"}`, Region},
		{"location", `{"latitude":1,"longitude":2}`, Position},
		{"location", `{"country":"DE","extensions":{}}`, 0},

		{"threat-actor", `{"x_opencti_type":"Threat-Actor-Individual"}`, ThreatActorIndividual},
		{"threat-actor", `{"x_opencti_type":"threat-actor-group","resource_level":"individual"}`, ThreatActorGroup},
		{"threat-actor", `{"resource_level":"Individual"}`, ThreatActorIndividual},
		{"threat-actor", `{"resource_level":"government"}`, ThreatActorGroup},
		{"threat-actor", `{}`, ThreatActorGroup},
		{"threat-actor", `{"extensions":{}}`, 0},

		{"malware", `{"identity_class":"individual","country":"DE"}`, 0},
		{"intrusion-set", `{"resource_level":"individual"}`, 0},
	} {
		var members map[string]any
		if err := json.Unmarshal([]byte(tt.object), &members); err != nil {
			t.Fatal(err)
		}
		got := KindOf(tt.typ, func(name string) (string, bool) {
			value, has := members[name]
			text, _ := value.(string)
			return text, has
		})
		if got != tt.want {
			t.Errorf("%s %s: got %d, want %d", tt.typ, tt.object, got, tt.want)
		}
	}
}

func TestOpenCTIsNamesOfKindsAreRead(t *testing.T) {
	for name, want := range map[string]uint8{
		"Individual": Individual, "Organization": Organization, "Sector": Sector, "System": System, "SecurityPlatform": SecurityPlatform,
		"City": City, "AdministrativeArea": AdministrativeArea, "Administrative-Area": AdministrativeArea, "Country": Country,
		"Region": Region, "Position": Position,
		"ThreatActorGroup": ThreatActorGroup, "Threat-Actor-Individual": ThreatActorIndividual,
		"Malware": 0, "Identity": 0, "": 0, "IntrusionSet": 0,
	} {
		if got := KindNamed(name); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
}

// Records of earlier runs hold these numbers.
func TestTheNumbersOfKindsStay(t *testing.T) {
	for want, kind := range []uint8{0, Individual, Organization, Sector, System, SecurityPlatform, City, AdministrativeArea, Country,
		Region, Position, ThreatActorGroup, ThreatActorIndividual} {
		if int(kind) != want {
			t.Errorf("%s has the number %d, want %d", kindNames[kind], kind, want)
		}
	}
}
