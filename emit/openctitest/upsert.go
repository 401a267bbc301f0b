package openctitest

import "encoding/json"

// upserted is an object after it came again: what it says takes the place of what was there, whatever its date, what it does not
// say stays, and labels, external references and what a container holds add up.
func upserted(before, now json.RawMessage) json.RawMessage {
	var object, newer map[string]json.RawMessage
	if before == nil || json.Unmarshal(before, &object) != nil || json.Unmarshal(now, &newer) != nil {
		return now
	}
	for name, value := range newer {
		switch {
		case string(value) == "null":
		case name == "labels" || name == "external_references" || name == "object_refs":
			object[name] = union(object[name], value)
		default:
			object[name] = value
		}
	}
	text, err := json.Marshal(object)
	if err != nil {
		return now
	}
	return text
}

// union adds to a list what another has in addition.
func union(list, more json.RawMessage) json.RawMessage {
	var all, added []json.RawMessage
	_ = json.Unmarshal(list, &all) // what is no list has nothing
	if json.Unmarshal(more, &added) != nil {
		return list
	}
	known := make(map[string]bool, len(all)+len(added))
	for _, element := range all {
		known[string(element)] = true
	}
	for _, element := range added {
		if !known[string(element)] {
			known[string(element)] = true
			all = append(all, element)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return more
	}
	return text
}
