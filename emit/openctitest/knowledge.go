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

// Object returns an object as the imports of it have made it. It reports false for one that the platform does not hold or was
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
