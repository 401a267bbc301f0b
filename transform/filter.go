package transform

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// Filters say which objects are left out; the zero value leaves out none. Each copy of an object is judged by what it says
// itself. What others are described with (identities, locations) is judged by its marking alone, and by [Filters.ExcludeTypes];
// marking definitions are never left out.
type Filters struct {
	// MaxTLP is the strictest marking that is let in, "" for any: one of [TLPLevels]. An object without one has [Config.TLP].
	MaxTLP string
	// Types are the only ones that are let in, beside relations and sightings; empty for all. Observables that
	// [Config.Observables] makes come along with their indicators.
	Types []string
	// ExcludeTypes are not let in.
	ExcludeTypes []string
	// MinConfidence and MinScore are the least that is let in of what states a confidence or a score.
	MinConfidence, MinScore int
	// Tags are labels, whatever their case, of which an object of a type that ThreatMatch labels has to bear one; empty for any
	// or none.
	Tags []string
	// ExcludeTags are labels of which an object must bear none.
	ExcludeTags []string
}

// filters are [Filters] that were checked.
type filters struct {
	maxLevel, unmarkedLevel uint8 // maxLevel is 0 for any
	types, excludedTypes    map[string]bool
	minConfidence, minScore int
	tags, excludedTags      map[string]bool
}

// newFilters checks filters; marking is that of objects without one.
func newFilters(f Filters, marking pipeline.Object, a actors) (filters, error) {
	checked := filters{
		unmarkedLevel: standardMarkings[marking.ID].level, minConfidence: f.MinConfidence, minScore: f.MinScore,
		types: make(map[string]bool), excludedTypes: make(map[string]bool), tags: setOfTags(f.Tags), excludedTags: setOfTags(f.ExcludeTags),
	}
	if f.MaxTLP != "" {
		most, err := markingFor(f.MaxTLP)
		if err != nil {
			return filters{}, err
		}
		checked.maxLevel = standardMarkings[most.ID].level
	}
	for set, names := range map[*map[string]bool][]string{&checked.types: f.Types, &checked.excludedTypes: f.ExcludeTypes} {
		for _, name := range names {
			if _, known := knownTypes[name]; !known || unmarked(name) {
				return filters{}, fmt.Errorf("unknown type %q to filter by", name)
			}
			(*set)[a.mapType(name)] = true
		}
	}
	return checked, nil
}

// setOfTags returns labels as OpenCTI tells them apart.
func setOfTags(tags []string) map[string]bool {
	set := make(map[string]bool, len(tags))
	for _, t := range tags {
		set[tidyTag(t)] = true
	}
	return set
}

func tidyTag(label string) string { return strings.ToLower(strings.TrimFunc(label, isBlank)) }

// isFilter says that a reason is a filter's.
func isFilter(why pipeline.Reason) bool {
	switch why {
	case AboveMaxTLP, NotOfTypes, OfExcludedType, BelowMinConfidence, BelowMinScore, WithoutTag, WithExcludedTag:
		return true
	}
	return false
}

// describes says that a type is there for others, which would be less without it.
func describes(typ string) bool { return typ == "identity" || typ == "location" || unmarked(typ) }

// isLabelled says that ThreatMatch labels objects of a type.
func isLabelled(typ string) bool {
	switch typ {
	case threatActor, intrusionSet, "campaign", "malware", "tool", "report", "indicator", "incident", "infrastructure":
		return true
	}
	return knownTypes[typ].observable
}

// wantsType says why a type is left out.
func (f *filters) wantsType(typ string) refusal {
	relates := typ == "relationship" || typ == "sighting"
	switch {
	case f.excludedTypes[typ]:
		return refusal{why: OfExcludedType, text: "is of type " + typ}
	case len(f.types) > 0 && !f.types[typ] && !describes(typ) && !relates:
		return refusal{why: NotOfTypes, text: "is of type " + typ}
	}
	return refusal{}
}

// wantsDerived says whether derived objects of a type are imported.
func (f *filters) wantsDerived(typ string) bool {
	if knownTypes[typ].observable {
		return !f.excludedTypes[typ]
	}
	return f.wantsType(typ).why == ""
}

// unwantedType says why a filter leaves an object out for its type, which all of its copies have.
func (b *builder) unwantedType() refusal {
	if b.o.ID == b.p.author.ID {
		return refusal{}
	}
	return b.p.filters.wantsType(b.o.Type)
}

// filter says why a filter leaves a mapped object out, and notes that in it. It keeps what it states, for other copies of it may
// have gone, or come, that do not say so.
func (b *builder) filter() refusal {
	if unmarked(b.o.Type) || b.o.ID == b.p.author.ID {
		return refusal{}
	}
	reason, filtered := b.tooStrict()
	if reason.why == "" && !describes(b.o.Type) {
		reason, filtered = b.unwanted(), pipeline.Unwanted
	}
	if reason.why == "" {
		return reason
	}
	b.o.Filtered = filtered
	if b.o.Stated.Level == 0 {
		b.o.JSON = nil
	}
	return reason
}

// tooStrict says that an object is marked more strictly than is let in, by what it states or by default.
func (b *builder) tooStrict() (reason refusal, filtered pipeline.Filtered) {
	level, filtered := b.o.Stated.Level, pipeline.TooStrict
	if level == 0 {
		level, filtered = b.p.filters.unmarkedLevel, pipeline.Unwanted
	}
	if most := b.p.filters.maxLevel; most == 0 || level <= most {
		return refusal{}, pipeline.Wanted
	}
	return refusal{why: AboveMaxTLP, text: "is marked " + levelNames[level]}, filtered
}

// unwanted says why a filter leaves an object out for what else it says.
func (b *builder) unwanted() refusal {
	f := &b.p.filters
	if f.minConfidence > 0 {
		if n, ok := numberOf(b.find("confidence")); ok && n < float64(f.minConfidence) {
			return refusal{why: BelowMinConfidence, text: fmt.Sprintf("has a confidence of %v", n)}
		}
	}
	if f.minScore > 0 {
		if n, ok := numberOf(b.givenScore()); ok && n < float64(f.minScore) {
			return refusal{why: BelowMinScore, text: fmt.Sprintf("has a score of %v", n)}
		}
	}
	return b.unwantedTags()
}

// StatesScore says whether an object of an item comes with a score that [Filters.MinScore] is compared with. The one of
// [Config.Score] is not, for it says nothing of the object.
func StatesScore(item pipeline.Item) bool {
	texts, err := readItem(item.Data, item.Strict)
	if err != nil {
		return false
	}
	b := builder{s: new(scratch)}
	for range texts.objects(&b.s.parsed) {
		if _, ok := numberOf(b.givenScore()); ok {
			return true
		}
	}
	return false
}

func (b *builder) unwantedTags() refusal {
	f := &b.p.filters
	if len(f.tags)+len(f.excludedTags) == 0 {
		return refusal{}
	}
	labels := b.tags()
	if i := slices.IndexFunc(labels, func(label string) bool { return f.excludedTags[label] }); i >= 0 {
		return refusal{why: WithExcludedTag, text: fmt.Sprintf("is labelled %q", labels[i])}
	}
	if len(f.tags) > 0 && isLabelled(b.o.Type) && !slices.ContainsFunc(labels, func(label string) bool { return f.tags[label] }) {
		return refusal{why: WithoutTag, text: "bears none of these labels"}
	}
	return refusal{}
}

// tags are the labels that an object comes with, whatever becomes of them.
func (b *builder) tags() (labels []string) {
	for e := range elements(b.find("labels")) {
		if isString(e) {
			labels = append(labels, tidyTag(string(unquote(e))))
		}
	}
	return labels
}

// numberOf reads a number, also one that is written as a text.
func numberOf(value []byte) (n float64, ok bool) {
	if isString(value) {
		value = unquote(value)
	}
	n, err := strconv.ParseFloat(string(value), 64)
	return n, err == nil
}

// levelNames are the levels of the standard markings as people write them.
var levelNames = map[uint8]string{levelWhite: "TLP:CLEAR", levelGreen: "TLP:GREEN", levelAmber: "TLP:AMBER", levelAmberStrict: "TLP:AMBER+STRICT", levelRed: "TLP:RED"}
