package openctitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"
)

// maxSource is how many characters of an object's text a worker reports at most, and sourceTooLarge what it says instead.
const (
	maxSource      = 50_000
	sourceTooLarge = "Bundle too large"
)

// workersOwn are members that a worker looks for in an object's extensions and sets in the object, to null where it has none.
var workersOwn = []string{
	"x_opencti_stix_ids", "x_opencti_granted_refs", "x_opencti_workflow_id", "x_opencti_modified_at", "opencti_upsert_operations",
}

// dateMembers are members that the worker hands to the platform as they are, whose GraphQL has them as DateTime.
var dateMembers = []string{"created", "modified", "published", "first_seen", "last_seen", "valid_from", "valid_until", "start_time", "stop_time", "first_observed", "last_observed"}

// Outcome is what became of a message or of an object in it.
type Outcome string

// What can become of a message.
const (
	// Imported means that the platform holds the object.
	Imported Outcome = "imported"
	// Failed means that the import failed, and that the work counts it and says why.
	Failed Outcome = "failed"
	// Ignored means that the object was counted as if it had been imported.
	Ignored Outcome = "ignored"
	// Dropped means that nobody is told of it: the message cannot be parsed, or its work is not alive.
	Dropped Outcome = "dropped"
)

// Import takes one message of the queue as the platform's worker does, but for its repetitions: what it would repeat
// fails at once. Of a bundle of several objects that may be split, each is expected by the work, as the worker says
// when it splits it; the outcome is then that of the last.
func (p *Platform) Import(body []byte) Outcome {
	var message struct {
		Content []byte  `json:"content"`
		WorkID  *string `json:"work_id"`
		NoSplit bool    `json:"no_split"`
	}
	var bundle struct {
		Type    string            `json:"type"`
		Objects []json.RawMessage `json:"objects"`
	}
	if json.Unmarshal(body, &message) != nil || json.Unmarshal(message.Content, &bundle) != nil || bundle.Type != "bundle" {
		return Dropped
	}
	var arrivals []*arrival
	for _, raw := range bundle.Objects {
		a, err := readArrival(raw)
		if err != nil {
			return Dropped
		}
		arrivals = append(arrivals, a)
	}
	slices.SortStableFunc(arrivals, func(a, b *arrival) int { return len(a.refs) - len(b.refs) })

	p.mu.Lock()
	defer p.mu.Unlock()
	var w *work
	if message.WorkID != nil {
		if w = p.aliveWork(*message.WorkID); w == nil {
			return Dropped
		}
		if len(arrivals) > 1 && !message.NoSplit {
			w.Expected += len(arrivals)
		}
	}
	outcome := Dropped
	for _, a := range arrivals {
		var failed *WorkError
		outcome, failed = p.importOne(a)
		if w != nil {
			w.report(failed)
		}
	}
	return outcome
}

// importOne imports an object; the caller holds the lock.
func (p *Platform) importOne(a *arrival) (Outcome, *WorkError) {
	if !a.compatible {
		return Failed, &WorkError{
			Message: "Incompatible element in bundle",
			Source:  "Element " + a.id + " is incompatible and couldn't be processed",
		}
	}
	message := p.planned(a.id)
	if message == "" {
		if entityType(a.stixType, a.object) == "" {
			return Ignored, nil
		}
		message = p.objection(a)
	}
	if message != "" {
		return Failed, &WorkError{Message: message, Source: a.source()}
	}
	raw := a.raw
	if before := p.held[a.id]; before != nil {
		raw = upserted(before.json, raw)
	}
	p.store(Held{StixIDs: []string{a.id}, Type: entityType(a.stixType, a.object)}, raw)
	return Imported, nil
}

// objection returns why the platform does not take an object, or nothing.
func (p *Platform) objection(a *arrival) string {
	for _, ref := range a.refs {
		if p.held[ref] == nil {
			return answered("MISSING_REFERENCE_ERROR", "Element(s) not found")
		}
	}
	for _, name := range dateMembers {
		date, isText := a.object[name].(string)
		if _, err := time.Parse(time.RFC3339, date); a.object[name] != nil && (!isText || err != nil) {
			return answered("BAD_USER_INPUT", fmt.Sprintf("Variable \"$input\" got invalid value %q at \"input.%s\"; DateTime cannot represent an invalid date-time-string %[1]s.", date, name))
		}
	}
	if a.stixType != "relationship" {
		return ""
	}
	kind := text(a.object["relationship_type"])
	from, to := p.held[text(a.object["source_ref"])], p.held[text(a.object["target_ref"])]
	switch {
	case from == to:
		return answered("UNSUPPORTED_ERROR", "Relation cant be created with the same source and target")
	case kind == "related-to" || kind == "revoked-by" || p.cfg.Relations == nil:
		return ""
	case !p.isRelation(kind):
		return answered("FUNCTIONAL_ERROR", "Only stix-core-relationship can be created through this method.")
	case !slices.Contains(p.cfg.Relations[from.Type+"_"+to.Type], kind):
		return answered("FUNCTIONAL_ERROR", fmt.Sprintf("The relationship type %s is not allowed between %s and %s", kind, from.Type, to.Type))
	}
	return ""
}

// isRelation reports whether the table has the type between any two ends.
func (p *Platform) isRelation(kind string) bool {
	for _, kinds := range p.cfg.Relations {
		if slices.Contains(kinds, kind) {
			return true
		}
	}
	return false
}

func (p *Platform) relationTypes(map[string]any) (any, error) {
	pairs := []object{}
	for _, key := range slices.Sorted(maps.Keys(p.cfg.Relations)) {
		pairs = append(pairs, object{"key": key, "values": p.cfg.Relations[key]})
	}
	return pairs, nil
}

// arrival is an object as a worker has prepared it for its import.
type arrival struct {
	id, stixType string
	raw          json.RawMessage
	object       map[string]any
	// refs are what must be held; a worker takes out what refers to the object itself or to a type that it does not know.
	refs       []string
	compatible bool
}

// readArrival fails where a worker stumbles over a message, and so drops it.
func readArrival(raw json.RawMessage) (*arrival, error) {
	a := &arrival{raw: raw}
	if err := json.Unmarshal(raw, &a.object); err != nil {
		return nil, err
	}
	for member, into := range map[string]*string{"id": &a.id, "type": &a.stixType} {
		s, ok := a.object[member].(string)
		if !ok {
			return nil, fmt.Errorf("%s is not a text", member)
		}
		*into = s
	}
	known := map[string]int{}
	for member, value := range a.object {
		if value == nil || !strings.HasSuffix(member, "_ref") && !strings.HasSuffix(member, "_refs") {
			continue
		}
		for _, ref := range listOrOne(value) {
			id, ok := ref.(string)
			if !ok {
				return nil, fmt.Errorf("%s holds what is not an id", member)
			}
			if id != a.id && isSupported(id) {
				known[member]++
				a.refs = append(a.refs, id)
			}
		}
	}
	a.compatible = isSupported(a.id)
	switch a.stixType {
	case "relationship":
		for _, end := range []string{"source_ref", "target_ref"} {
			if _, ok := a.object[end]; !ok {
				return nil, fmt.Errorf("%s is missing", end)
			}
			a.compatible = a.compatible && known[end] > 0
		}
	case "sighting":
		a.compatible = known["sighting_of_ref"] > 0 && known["where_sighted_refs"] > 0
	}
	return a, nil
}

func listOrOne(v any) []any {
	if many, ok := v.([]any); ok {
		return many
	}
	return []any{v}
}

// source returns the object's text as a worker reports it: with its own members added, as Python writes JSON.
func (a *arrival) source() string {
	text := strings.TrimSuffix(strings.TrimSpace(string(a.raw)), "}")
	text += fmt.Sprintf(`,"nb_deps":%d`, 1)
	for _, member := range workersOwn {
		if _, ok := a.object[member]; !ok {
			text += `,"` + member + `":null`
		}
	}
	value := jsontext.Value(text + "}")
	if err := value.Format(jsontext.SpaceAfterColon(true), jsontext.SpaceAfterComma(true), jsontext.Multiline(false), jsontext.AllowDuplicateNames(true)); err != nil {
		return sourceTooLarge
	}
	reported := ascii(string(value))
	if len(reported) >= maxSource {
		return sourceTooLarge
	}
	return reported
}

// ascii escapes every other character of a JSON text.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
