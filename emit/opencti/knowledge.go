package opencti

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/Khan/genqlient/graphql"
	"golang.org/x/sync/errgroup"
)

// Holds tells which of the ids the platform holds: each with the GraphQL type of its object ("Organization", "Country", …),
// whichever of its ids it is asked by. What the answer leaves out is not held. On an error nothing is known.
//
// The token's user needs the right to read knowledge: without it the error is one of [IsForbidden]. Questions of any length
// are split, and a few parts of them asked at once.
func (c *Client) Holds(ctx context.Context, ids []string) (map[string]string, error) {
	var mu sync.Mutex
	known := make(map[string]string, len(ids))
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(questionsAtOnce)
	for part := range slices.Chunk(distinct(ids), idsPerQuery) {
		group.Go(func() error {
			held, err := c.holds(asking, part)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(known, held)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return known, nil
}

func distinct(ids []string) []string {
	out := make([]string, 0, len(ids))
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

// Members that only later platforms have.
const (
	objectsByFilter = "stixObjectOrStixRelationships"
	filterValue     = "Any"
	relationTypes   = "schemaRelationsTypesMapping"
)

// byFilter are the members without any of which a question for many ids could take what is held for absent.
var byFilter = []string{
	objectsByFilter, filterValue, "pageInfo", "endCursor", "hasNextPage", "BasicObject", "standard_id", "StixObject",
	"x_opencti_stix_ids", "BasicRelationship", "StixRelationship",
}

func (c *Client) holds(ctx context.Context, ids []string) (map[string]string, error) {
	if !c.lacking(byFilter...) {
		held, err := c.holdsByFilter(ctx, ids)
		if !c.lacking(byFilter...) { // else it has just turned out
			return held, err
		}
	}
	return c.holdsByAlias(ctx, ids)
}

// holdsByFilter asks for all the ids at once. A platform that answers with fewer objects than it has is asked on until
// every id is answered or it has no more.
func (c *Client) holdsByFilter(ctx context.Context, ids []string) (map[string]string, error) {
	asked := make(map[string]bool, len(ids))
	for _, id := range ids {
		asked[id] = true
	}
	held := make(map[string]string, len(ids))
	// More than the ids, so that the page is not full, and there is no other to ask for, when all are held.
	first := len(ids) + 1
	var after *string
	// Each page brings an object at least: more pages than ids are an answer that runs in a circle.
	for range len(ids) + 1 {
		answer, err := holdsByFilter(ctx, c, ids, &first, after)
		if err != nil {
			return nil, err
		}
		found := answer.StixObjectOrStixRelationships
		if found == nil {
			return nil, &Error{Operation: "holdsByFilter", Message: "the answer holds no list of objects"}
		}
		for _, edge := range found.Edges {
			if edge == nil {
				continue
			}
			for _, name := range edge.Node.names() {
				if asked[name] {
					held[name] = edge.Node.Type
				}
			}
		}
		if !found.PageInfo.HasNextPage || len(held) == len(ids) {
			return held, nil
		}
		next := found.PageInfo.EndCursor
		if len(found.Edges) == 0 || (after != nil && next == *after) {
			break
		}
		after = &next
	}
	return nil, &Error{Operation: "holdsByFilter", Message: "the answer does not come to its end"}
}

// holdsByAlias asks a platform before 6.1.0, which has no filter by ids.
func (c *Client) holdsByAlias(ctx context.Context, ids []string) (map[string]string, error) {
	held := make(map[string]string, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), int(c.aliases.Load()))
		err := c.askByAlias(ctx, ids[:n], held)
		if tooMany(err) && n > 1 {
			c.lowerAliases(n)
			continue
		}
		if err != nil {
			return nil, err
		}
		ids = ids[n:]
	}
	return held, nil
}

// lowerAliases halves the number that was too large, by way of 2, which OpenCTI's own protection allows.
func (c *Client) lowerAliases(tooMany int) {
	lower := int64(1)
	if tooMany > 2 {
		lower = max(2, int64(tooMany/2))
	}
	for {
		now := c.aliases.Load()
		if now <= lower || c.aliases.CompareAndSwap(now, lower) {
			return
		}
	}
}

func (c *Client) askByAlias(ctx context.Context, ids []string, held map[string]string) error {
	var params, fields strings.Builder
	variables := make(map[string]string, len(ids))
	for i, id := range ids {
		n := strconv.Itoa(i)
		variables["i"+n] = id
		if i > 0 {
			params.WriteString(", ")
		}
		fmt.Fprintf(&params, "$i%s: String!", n)
		fmt.Fprintf(&fields, "  a%s: stixObjectOrStixRelationship(id: $i%s) { __typename }\n", n, n)
	}
	query := "query holdsByAlias(" + params.String() + ") {\n" + fields.String() + "}"
	var answer map[string]json.RawMessage
	if err := c.MakeRequest(ctx, &graphql.Request{OpName: "holdsByAlias", Query: query, Variables: variables}, &graphql.Response{Data: &answer}); err != nil {
		return err
	}
	for i, id := range ids {
		raw, ok := answer["a"+strconv.Itoa(i)]
		if !ok {
			return &Error{Operation: "holdsByAlias", Message: "the answer leaves out an id that was asked for"}
		}
		if bytes.Equal(raw, []byte("null")) {
			continue
		}
		var object heldObject
		if json.Unmarshal(raw, &object) != nil {
			return &Error{Operation: "holdsByAlias", Message: "unexpected answer: an object is none"}
		}
		held[id] = object.Type
	}
	return nil
}

// Relations tells which types of relationships the platform takes: the key "Intrusion-Set_Country" names the OpenCTI types
// of both ends. It takes related-to between any two entities, whether it says so or not.
//
// It asks also where the platform did not know the question before: it is asked once a run, and what it does not tell costs relations
// of their type for good.
func (c *Client) Relations(ctx context.Context) (map[string][]string, error) {
	c.mu.Lock()
	maps.DeleteFunc(c.lacks, func(l lesson, _ *Error) bool { return l.name == relationTypes })
	c.mu.Unlock()
	answer, err := relations(ctx, c)
	if err != nil {
		return nil, err
	}
	taken := make(map[string][]string, len(answer.SchemaRelationsTypesMapping))
	for _, pair := range answer.SchemaRelationsTypesMapping {
		taken[pair.Key] = append(taken[pair.Key], pair.Values...)
	}
	if len(taken) == 0 {
		return nil, &Error{Operation: "relations", Message: "the answer names no relationship"}
	}
	return taken, nil
}
