package opencti

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Holds tells of each id whether the platform holds an object of that id. The token's user needs the right to read
// knowledge; without it the call fails, and nothing is known. What was answered before a failure is returned beside it.
func (c *Client) Holds(ctx context.Context, ids []string) (map[string]bool, error) {
	known := make(map[string]bool, len(ids))
	var ask []string
	asked := make(map[string]bool, len(ids))
	for _, id := range ids {
		if !asked[id] {
			asked[id] = true
			ask = append(ask, id)
		}
	}
	for len(ask) > 0 {
		n := min(len(ask), int(c.chunk.Load()))
		err := c.holds(ctx, ask[:n], known)
		if tooMany(err) && n > 1 {
			c.chunk.Store(int64(n / 2))
			continue
		}
		if err != nil {
			return known, err
		}
		ask = ask[n:]
	}
	return known, nil
}

// tooMany reports whether the platform refused the question for its size: protections in front of GraphQL bound the
// number of aliases, each with its own figure.
func tooMany(err error) bool {
	var e *Error
	return errors.As(err, &e) && strings.Contains(e.Message, "limit of") && strings.Contains(e.Message, "exceeded")
}

func (c *Client) holds(ctx context.Context, ids []string, known map[string]bool) error {
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
	query := "query holds(" + params.String() + ") {\n" + fields.String() + "}"
	var answer map[string]json.RawMessage
	if err := c.do(ctx, "holds", query, variables, &answer); err != nil {
		return err
	}
	for i, id := range ids {
		object, ok := answer["a"+strconv.Itoa(i)]
		if !ok {
			return &Error{Operation: "holds", Message: "the answer leaves out an id that was asked for"}
		}
		known[id] = !bytes.Equal(object, []byte("null"))
	}
	return nil
}
