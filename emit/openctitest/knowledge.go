package openctitest

import (
	"crypto/sha1"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
)

const (
	// defaultPage and maxPage bound an answer, as the platform's configuration does by default
	// (elasticsearch:default_pagination_result and max_pagination_result).
	defaultPage = 500
	maxPage     = 5000
)

// Held is what the platform knows an object by. What is left empty is made up: the ids from each other, the type from
// the STIX type of an id.
type Held struct {
	// ID is the internal id, a UUID, and StandardID the one that the platform gave it.
	ID, StandardID string
	// StixIDs are the further ids by which it has arrived.
	StixIDs []string
	// Type is the type of entity, such as "Country", or that of a relationship.
	Type string
}

// held is an object of the platform. It is not changed once it is stored, so that a snapshot may share it.
type held struct {
	Held
	json json.RawMessage // as it was imported last; nil if it was not
}

func (h *held) ids() []string { return append([]string{h.ID, h.StandardID}, h.StixIDs...) }

// Hold makes the platform hold objects whose standard ids are these.
func (p *Platform) Hold(ids ...string) {
	for _, id := range ids {
		p.HoldObject(Held{StandardID: id})
	}
}

// HoldObject makes the platform hold an object, in place of what it holds under one of its ids.
func (p *Platform) HoldObject(h Held) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.store(h, nil)
}

// Holds reports whether the platform holds an object of this id, be it internal, standard or any other.
func (p *Platform) Holds(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held[id] != nil
}

// Object returns an object as it was imported last. It reports false for one that the platform does not hold or was
// only told to.
func (p *Platform) Object(id string) (json.RawMessage, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.held[id]
	if h == nil || h.json == nil {
		return nil, false
	}
	return slices.Clone(h.json), true
}

// Remove deletes the objects of these ids, as an operator or a retention rule does.
func (p *Platform) Remove(ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if h := p.held[id]; h != nil {
			for _, known := range h.ids() {
				delete(p.held, known)
			}
		}
	}
}

// store makes the platform hold an object; the caller holds the lock.
func (p *Platform) store(h Held, object json.RawMessage) {
	known := slices.Clone(h.StixIDs)
	for _, id := range []string{h.StandardID, h.ID} {
		if id != "" {
			known = append(known, id)
		}
	}
	for _, id := range known {
		if before := p.held[id]; before != nil {
			h.ID, h.StandardID = before.ID, before.StandardID
			known = append(known, before.StixIDs...)
			break
		}
	}
	if h.StandardID == "" {
		h.StandardID = stixType(known[0]) + "--" + derived(known[0], "standard")
	}
	if h.ID == "" {
		h.ID = derived(h.StandardID, "internal")
	}
	if h.Type == "" {
		h.Type = entityType(stixType(h.StandardID), nil)
	}
	slices.Sort(known)
	h.StixIDs = slices.DeleteFunc(slices.Compact(known), func(id string) bool { return id == h.ID || id == h.StandardID })
	stored := &held{h, object}
	for _, id := range stored.ids() {
		p.held[id] = stored
	}
}

// derived returns an id that follows from another.
func derived(id, purpose string) string {
	return uuid.NewHash(sha1.New(), uuid.Nil, []byte(purpose+" "+id), 5).String()
}

// describe returns the object as the schema has it.
func (h *held) describe() object {
	name := strings.ReplaceAll(h.Type, "-", "")
	switch stixType(h.StandardID) {
	case "relationship":
		name = "StixCoreRelationship"
	case "sighting":
		name = "StixSightingRelationship"
	}
	return object{"__typename": name, "id": h.ID, "standard_id": h.StandardID, "x_opencti_stix_ids": h.StixIDs}
}

func (p *Platform) mayRead() error {
	if p.cfg.NoKnowledge {
		return fail("FORBIDDEN_ACCESS", "You are not allowed to do this.")
	}
	return nil
}

func (p *Platform) oneObject(args map[string]any) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.mayRead(); err != nil {
		return nil, err
	}
	if h := p.held[text(args["id"])]; h != nil {
		return h.describe(), nil
	}
	return nil, nil
}

func (p *Platform) manyObjects(args map[string]any) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.mayRead(); err != nil {
		return nil, err
	}
	if text(args["search"]) != "" {
		return nil, fail("UNSUPPORTED_ERROR", "the simulated platform does not search for texts")
	}
	group, _ := args["filters"].(map[string]any)
	matches, err := groupFilter(group)
	if err != nil {
		return nil, err
	}
	found := p.candidates(group)
	found = slices.DeleteFunc(found, func(h *held) bool { return !matches(h) })
	slices.SortFunc(found, func(a, b *held) int { return strings.Compare(a.ID, b.ID) })
	return page(found, args)
}

// candidates returns the objects that a filter can match at most: those of its ids when it asks for nothing else, so
// that a question for some of very many objects is answered quickly.
func (p *Platform) candidates(group map[string]any) []*held {
	found := map[*held]bool{}
	filters, groups := list(group["filters"]), list(group["filterGroups"])
	if len(filters) == 1 && len(groups) == 0 {
		if f, _ := filters[0].(map[string]any); text(f["operator"]) != "not_eq" {
			for _, id := range texts(f["values"]) {
				if h := p.held[id]; h != nil {
					found[h] = true
				}
			}
			return slices.Collect(maps.Keys(found))
		}
	}
	for _, h := range p.held {
		found[h] = true
	}
	return slices.Collect(maps.Keys(found))
}

// page cuts a connection out of what was found.
func page(found []*held, args map[string]any) (any, error) {
	first := defaultPage
	if args["first"] != nil {
		first = min(int(number(args["first"])), maxPage)
	}
	if first < 0 {
		return nil, fail("DATABASE_ERROR", "first must not be negative")
	}
	total, from := len(found), 0
	if after := text(args["after"]); after != "" {
		for from < total && found[from].ID <= after {
			from++
		}
	}
	end := min(from+first, total)
	edges := []object{}
	for _, h := range found[from:end] {
		edges = append(edges, object{"cursor": h.ID, "node": h.describe()})
	}
	info := object{"startCursor": "", "endCursor": "", "hasNextPage": end < total, "hasPreviousPage": from > 0, "globalCount": total}
	if len(edges) > 0 {
		info["startCursor"], info["endCursor"] = edges[0]["cursor"], edges[len(edges)-1]["cursor"]
	}
	return object{"edges": edges, "pageInfo": info}, nil
}

type filter func(*held) bool

// groupFilter reads a FilterGroup; one that asks for nothing lets everything pass.
func groupFilter(group map[string]any) (filter, error) {
	var parts []filter
	for _, member := range list(group["filters"]) {
		f, _ := member.(map[string]any)
		part, err := idsFilter(f)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	for _, member := range list(group["filterGroups"]) {
		g, _ := member.(map[string]any)
		part, err := groupFilter(g)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	either := text(group["mode"]) == "or"
	return func(h *held) bool {
		for _, part := range parts {
			if part(h) == either {
				return either
			}
		}
		return !either || len(parts) == 0
	}, nil
}

// idsFilter reads a Filter. Of the platform's keys it knows "ids" only, which stands alone and means all ids of an object.
func idsFilter(f map[string]any) (filter, error) {
	keys := texts(f["key"])
	if len(keys) == 0 {
		return nil, fail("UNSUPPORTED_ERROR", "Incorrect filters format")
	}
	if len(keys) > 1 {
		return nil, fail("UNSUPPORTED_ERROR", "A filter with these multiple keys is not supported")
	}
	if keys[0] != "ids" {
		return nil, fail("UNSUPPORTED_ERROR", "Incorrect filter keys not existing in any schema definition")
	}
	wanted := map[string]bool{}
	for _, id := range texts(f["values"]) {
		wanted[id] = true
	}
	not, all := text(f["operator"]) == "not_eq", text(f["mode"]) == "and"
	return func(h *held) bool {
		hits := 0
		for _, id := range h.ids() {
			if wanted[id] {
				hits++
			}
		}
		if not {
			return hits == 0
		}
		return hits > 0 && (!all || hits == len(wanted))
	}, nil
}
