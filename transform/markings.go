package transform

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// The strictness of markings, see [pipeline.Stated].
const (
	levelOther uint8 = 1 + iota
	levelWhite
	levelGreen
	levelAmber
	levelAmberStrict
	levelRed
)

// The markings under the ids that OpenCTI has for them.
const (
	tlpWhite       = "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9"
	tlpGreen       = "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da"
	tlpAmber       = "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"
	tlpAmberStrict = "marking-definition--826578e1-40ad-459f-bc73-ede076f81f37"
	tlpRed         = "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"
)

// TLPLevels are the names that [Config.TLP] takes.
func TLPLevels() []string { return []string{"clear", "white", "green", "amber", "amber+strict", "red"} }

// markingFor returns the marking of a level: those of STIX 2.1, and OpenCTI's own for amber+strict, which STIX 2.1 does not
// have.
func markingFor(level string) (pipeline.Object, error) {
	var id string
	switch level {
	case "clear", "white":
		id = tlpWhite
	case "green":
		id = tlpGreen
	case "amber":
		id = tlpAmber
	case "amber+strict":
		id = tlpAmberStrict
	case "red":
		id = tlpRed
	default:
		return pipeline.Object{}, fmt.Errorf("unknown TLP level %q: use one of %q", level, TLPLevels())
	}
	return standardMarkings[id].definition, nil
}

// StandardMarking returns the definition of a standard TLP marking, which is the same everywhere, so that a reference to it
// needs nobody who brings it. These are the markings of TLP 1 in STIX 2.1, OpenCTI's amber+strict, and those of TLP 2, which
// have ids of their own (OASIS, extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d).
//
// OpenCTI knows a marking by its words, not by its id: a definition of TLP 2 comes with the words of the marking that the
// platform has, which takes up the id as another one of it.
func StandardMarking(id string) (definition pipeline.Object, standard bool) {
	m, standard := standardMarkings[id]
	if !standard {
		return pipeline.Object{}, false
	}
	m.definition.JSON = bytes.Clone(m.definition.JSON)
	return m.definition, true
}

// standardMarking is one of the markings that are the same everywhere.
type standardMarking struct {
	level      uint8
	definition pipeline.Object
}

var standardMarkings = func() map[string]standardMarking {
	m := make(map[string]standardMarking, 10)
	add := func(level uint8, text string) {
		o := constant(text)
		m[o.ID] = standardMarking{level: level, definition: o}
	}
	const first, second = "2017-01-20T00:00:00.000Z", "2022-10-01T00:00:00.000Z"
	add(levelWhite, tlpText("613f2e26-407d-48c7-9eca-b8e91df99dc9", first, "WHITE", "white"))
	add(levelGreen, tlpText("34098fce-860f-48ae-8e50-ebd3cc5e41da", first, "GREEN", "green"))
	add(levelAmber, tlpText("f88d31f6-486f-44da-b317-01333bde0b82", first, "AMBER", "amber"))
	add(levelAmberStrict, amberStrictText("826578e1-40ad-459f-bc73-ede076f81f37", second))
	add(levelRed, tlpText("5e57c739-391a-4eb3-b6be-7d15ca92d5ed", first, "RED", "red"))
	add(levelWhite, tlpText("94868c89-83c2-464b-929b-a1a8aa3c8487", second, "CLEAR", "clear"))
	add(levelGreen, tlpText("bab4a63c-aed9-4cf5-a766-dfca5abac2bb", second, "GREEN", "green"))
	add(levelAmber, tlpText("55d920b0-5e8b-4f79-9ee9-91f868d9b421", second, "AMBER", "amber"))
	add(levelAmberStrict, amberStrictText("939a9414-2ddd-4d32-a0cd-375ea402b003", second))
	add(levelRed, tlpText("e828b379-4e03-4974-9ac4-e53a884c97c1", second, "RED", "red"))
	return m
}()

func tlpText(id, created, name, level string) string {
	return `{"type":"marking-definition","spec_version":"2.1","id":"marking-definition--` + id +
		`","created":"` + created + `","definition_type":"tlp","name":"TLP:` + name +
		`","definition":{"tlp":"` + level + `"}}`
}

// amberStrictText says amber+strict as OpenCTI does, for whom it is no TLP of STIX's.
func amberStrictText(id, created string) string {
	return `{"type":"marking-definition","spec_version":"2.1",` +
		`"id":"marking-definition--` + id + `","created":"` + created + `",` +
		`"definition_type":"statement","definition":{"statement":"custom"},` +
		`"x_opencti_definition":"TLP:AMBER+STRICT","x_opencti_definition_type":"TLP"}`
}

// asMarking returns a reference to a standard marking as STIX writes it, also when it was written carelessly or by its name: a
// restriction that somebody has stated must not come to nothing. Any other stays as it is.
func asMarking(quoted []byte) []byte {
	if isPlainID(quoted[1 : len(quoted)-1]) {
		return quoted
	}
	text := strings.ToLower(strings.TrimSpace(string(unquote(quoted))))
	if _, standard := standardMarkings[text]; standard {
		return appendQuoted(nil, text)
	}
	if level, isName := strings.CutPrefix(text, "tlp:"); isName {
		if m, err := markingFor(strings.TrimSpace(level)); err == nil {
			return appendQuoted(nil, m.ID)
		}
	}
	return quoted
}

// isPlainID says that a text consists of what ids consist of, as STIX writes them.
func isPlainID[T string | []byte](text T) bool {
	for i := range len(text) {
		if c := text[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// canBe says whether an id can be what its member names: an author is an identity and a marking a marking definition, else
// OpenCTI refuses the object. What is no STIX id only OpenCTI can tell.
func canBe(id []byte, key string) bool {
	typ, isSTIX := typeIn(id)
	switch {
	case !isSTIX:
		return true
	case key == authorKey:
		return string(typ) == "identity"
	case key == markingKey:
		return string(typ) == "marking-definition"
	}
	return true
}

// unmarked lists the types that OpenCTI keeps without author, markings, labels and external references.
func unmarked(typ string) bool {
	switch typ {
	case "marking-definition", "label", "vocabulary", "external-reference", "kill-chain-phase":
		return true
	}
	return false
}
