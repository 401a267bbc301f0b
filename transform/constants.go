package transform

import (
	"fmt"
	"slices"
)

// authorJSON is the organization that all of it comes from. Its id is the one that OpenCTI derives from name and class;
// its dates are constants, so that every run sends the same bytes.
const authorJSON = `{"type":"identity","spec_version":"2.1","id":"identity--bd7e3637-940a-53ea-b249-d22adfc66fb3",` +
	`"created":"2007-01-01T00:00:00.000Z","modified":"2007-01-01T00:00:00.000Z","name":"Security Alliance",` +
	`"description":"Security Alliance is a cyber threat intelligence product and services company, formed in 2007.",` +
	`"identity_class":"organization"}`

// TLPLevels are the names that [Config.TLP] takes.
func TLPLevels() []string { return []string{"clear", "white", "green", "amber", "amber+strict", "red"} }

// markingFor returns the marking definition of a level: those of STIX 2.1, and OpenCTI's own for amber+strict, which STIX
// 2.1 does not have.
func markingFor(level string) (string, error) {
	if !slices.Contains(TLPLevels(), level) {
		return "", fmt.Errorf("unknown TLP level %q: use one of %q", level, TLPLevels())
	}
	switch level {
	case "green":
		return tlp("34098fce-860f-48ae-8e50-ebd3cc5e41da", "GREEN", "green"), nil
	case "amber":
		return tlp("f88d31f6-486f-44da-b317-01333bde0b82", "AMBER", "amber"), nil
	case "amber+strict":
		return `{"type":"marking-definition","spec_version":"2.1",` +
			`"id":"marking-definition--826578e1-40ad-459f-bc73-ede076f81f37","created":"2022-10-01T00:00:00.000Z",` +
			`"definition_type":"statement","definition":{"statement":"custom"},` +
			`"x_opencti_definition":"TLP:AMBER+STRICT","x_opencti_definition_type":"TLP"}`, nil
	case "red":
		return tlp("5e57c739-391a-4eb3-b6be-7d15ca92d5ed", "RED", "red"), nil
	}
	return tlp("613f2e26-407d-48c7-9eca-b8e91df99dc9", "WHITE", "white"), nil
}

func tlp(id, name, level string) string {
	return `{"type":"marking-definition","spec_version":"2.1","id":"marking-definition--` + id +
		`","created":"2017-01-20T00:00:00.000Z","definition_type":"tlp","name":"TLP:` + name +
		`","definition":{"tlp":"` + level + `"}}`
}
