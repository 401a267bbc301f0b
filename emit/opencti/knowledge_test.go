package opencti_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

// question is what a client asks a platform.
type question struct {
	OperationName, Query string
	Variables            map[string]any
}

// ids are those that the question names, however it names them.
func (q question) ids() []string {
	var ids []string
	if list, ok := q.Variables["ids"].([]any); ok {
		for _, id := range list {
			ids = append(ids, id.(string))
		}
		return ids
	}
	for i := range len(q.Variables) {
		ids = append(ids, q.Variables[fmt.Sprintf("i%d", i)].(string))
	}
	return ids
}

// answers is a platform that answers questions with a text: data, or an error where it begins with one.
func answers(answer func(question) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q question
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			return // the client has given up
		}
		_, _ = w.Write([]byte(answer(q)))
	})
}

func node(kind, id, standard string, others ...string) string {
	text, _ := json.Marshal(map[string]any{"node": map[string]any{
		"__typename": kind, "id": id, "standard_id": standard, "x_opencti_stix_ids": others,
	}})
	return string(text)
}

func list(more bool, cursor string, edges ...string) string {
	return fmt.Sprintf(`{"data":{"stixObjectOrStixRelationships":{"pageInfo":{"hasNextPage":%t,"endCursor":%q},"edges":[%s]}}}`,
		more, cursor, strings.Join(edges, ","))
}

const unknownQuery = `{"errors":[{"message":"Cannot query field \"stixObjectOrStixRelationships\" on type \"Query\". Did you mean ` +
	`\"stixObjectOrStixRelationship\"?","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`

// before610 answers as a platform before 6.1.0 that holds the ids of which held is true, and takes no more than most
// aliases.
func before610(held func(id string) bool, most int, refusal string) func(question) string {
	return func(q question) string {
		if strings.Contains(q.Query, "stixObjectOrStixRelationships") {
			return unknownQuery
		}
		ids := q.ids()
		if len(ids) > most {
			return `{"errors":[{"message":` + quote(refusal) + `,"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`
		}
		fields := map[string]any{}
		for i, id := range ids {
			fields[fmt.Sprintf("a%d", i)] = nil
			if held(id) {
				fields[fmt.Sprintf("a%d", i)] = map[string]string{"__typename": "Indicator"}
			}
		}
		text, _ := json.Marshal(map[string]any{"data": fields})
		return string(text)
	}
}

func indicators(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("indicator--%08d-0000-4000-8000-000000000000", i)
	}
	return ids
}

func TestAnObjectIsHeldByWhicheverOfItsIdsItIsAskedFor(t *testing.T) {
	url, requests := serve(t, answers(func(q question) string {
		if first := q.Variables["first"].(float64); int(first) <= len(q.ids()) {
			t.Errorf("first is %v", first)
		}
		return list(false, "c", node("Organization", "internal-1", "identity--1", "identity--own"), "null",
			node("Country", "internal-2", "location--2"), node("StixCoreRelationship", "internal-3", "relationship--3"),
			`{"node":{"__typename":"TypeOfTomorrow","id":"internal-4","standard_id":"tomorrow--4","x_opencti_stix_ids":[null,"other--4"]}}`)
	}))
	odd := `x"){__typename} evil: about{version} #`
	ask := []string{"identity--own", "internal-2", "relationship--3", "relationship--3", "other--4", odd, "malware--unknown"}
	held, err := connect(t, opencti.Config{URL: url}).Holds(t.Context(), ask)
	want := map[string]string{
		"identity--own": "Organization", "internal-2": "Country", "relationship--3": "StixCoreRelationship", "other--4": "TypeOfTomorrow",
	}
	if err != nil || !maps.Equal(held, want) || requests.Load() != 1 {
		t.Errorf("Holds() = %v, %v by %d requests", held, err, requests.Load())
	}
}

func TestAPlatformOfAnyReleaseTellsWhatItHolds(t *testing.T) {
	for _, version := range []string{"5.12.0", "6.0.10", "6.1.0", "7.260817.0"} {
		p, c, requests := start(t, openctitest.Config{Version: version})
		ids := indicators(1200)
		p.Hold(ids[0], ids[777], "relationship--1")
		p.HoldObject(openctitest.Held{ID: "0b4f", StandardID: "location--4", StixIDs: []string{"location--5"}, Type: "Country"})
		held, err := c.Holds(t.Context(), append(ids, "location--5", "0b4f", "relationship--1"))
		want := map[string]string{
			ids[0]: "Indicator", ids[777]: "Indicator", "location--5": "Country", "0b4f": "Country", "relationship--1": "StixCoreRelationship",
		}
		if err != nil || !maps.Equal(held, want) {
			t.Errorf("%s: Holds() = %v, %v", version, held, err)
		}
		if n := requests.Load(); version >= "6.1" && n != 3 {
			t.Errorf("%s: %d requests", version, n)
		}
	}
}

func TestWithoutTheRightToReadKnowledgeNothingIsKnown(t *testing.T) {
	for _, version := range []string{"6.0.10", "7.260817.0"} {
		p, c, _ := start(t, openctitest.Config{Version: version, NoKnowledge: true})
		p.Hold("identity--1")
		if held, err := c.Holds(t.Context(), []string{"identity--1"}); held != nil || !opencti.IsForbidden(err) || !opencti.IsRefused(err) {
			t.Errorf("%s: Holds() = %v, %v", version, held, err)
		}
	}
}

func TestNothingIsAskedForNoIds(t *testing.T) {
	url, requests := serve(t, answering(500, "", ""))
	if held, err := connect(t, opencti.Config{URL: url}).Holds(t.Context(), nil); err != nil || len(held) != 0 || requests.Load() != 0 {
		t.Errorf("Holds() = %v, %v by %d requests", held, err, requests.Load())
	}
}

func TestAnObjectOnALaterPageIsNotTakenAsAbsent(t *testing.T) {
	ids := indicators(10)
	url, requests := serve(t, answers(func(q question) string {
		// Two objects a page, and every second id is held.
		begin := 0
		if after, ok := q.Variables["after"].(string); ok {
			_, _ = fmt.Sscanf(after, "cursor %d", &begin)
		}
		var edges []string
		for i := begin; i < len(ids) && len(edges) < 2; i++ {
			if begin = i + 1; i%2 == 0 {
				edges = append(edges, node("Indicator", fmt.Sprint("internal-", i), "indicator--standard", ids[i]))
			}
		}
		return list(begin < len(ids)-1, fmt.Sprintf("cursor %d", begin), edges...)
	}))
	held, err := connect(t, opencti.Config{URL: url}).Holds(t.Context(), ids)
	if err != nil || len(held) != 5 || requests.Load() != 3 {
		t.Errorf("Holds() = %v, %v by %d requests", held, err, requests.Load())
	}
	for i, id := range ids {
		if _, found := held[id]; found != (i%2 == 0) {
			t.Errorf("%s is held: %t", id, found)
		}
	}
}

func TestAnAnswerThatDoesNotComeToItsEndIsNone(t *testing.T) {
	turn := 0
	for name, answer := range map[string]func(question) string{
		"no list":         func(question) string { return `{"data":{"stixObjectOrStixRelationships":null}}` },
		"an empty page":   func(question) string { return list(true, "c") },
		"the same cursor": func(question) string { return list(true, "c", node("Indicator", "i", "indicator--else")) },
		"a circle": func(question) string {
			turn++
			return list(true, fmt.Sprint(turn%2), node("Indicator", "i", "indicator--else"))
		},
	} {
		url, requests := serve(t, answers(answer))
		held, err := connect(t, opencti.Config{URL: url}).Holds(t.Context(), indicators(3))
		if err == nil || held != nil || requests.Load() > 4 || opencti.IsRefused(err) {
			t.Errorf("%s: Holds() = %v, %v by %d requests", name, held, err, requests.Load())
		}
	}
}

func TestALongListIsAskedForInPartsSideBySide(t *testing.T) {
	var (
		mu              sync.Mutex
		atOnce, highest int
		sizes           []int
	)
	four := make(chan struct{})
	url, _ := serve(t, answers(func(q question) string {
		mu.Lock()
		sizes = append(sizes, len(q.ids()))
		atOnce++
		highest = max(highest, atOnce)
		if len(sizes) == 4 {
			close(four)
		}
		mu.Unlock()
		select {
		case <-four:
		case <-time.After(30 * time.Second):
			t.Error("four questions are not under way at once")
		}
		mu.Lock()
		atOnce--
		mu.Unlock()
		var edges []string
		for i, id := range q.ids() {
			if i%2 == 0 {
				edges = append(edges, node("Indicator", "internal "+id, id))
			}
		}
		return list(false, "c", edges...)
	}))
	ids := indicators(4300)
	held, err := connect(t, opencti.Config{URL: url}).Holds(t.Context(), slices.Concat(ids, ids[:5]))
	if err != nil || len(held) != 2150 {
		t.Errorf("Holds() = %d objects, %v", len(held), err)
	}
	slices.Sort(sizes)
	if !slices.Equal(sizes, []int{300, 500, 500, 500, 500, 500, 500, 500, 500}) || highest != 4 {
		t.Errorf("parts of %v, %d at once", sizes, highest)
	}
}

func TestWhenAPartFailsNothingIsKnown(t *testing.T) {
	ids := indicators(1200)
	url, _ := serve(t, answers(func(q question) string {
		if slices.Contains(q.ids(), ids[1100]) {
			return `{"errors":[{"name":"DATABASE_ERROR","message":"x"}]}`
		}
		return list(false, "c")
	}))
	held, err := connect(t, opencti.Config{URL: url}).Holds(t.Context(), ids)
	if held != nil || !opencti.IsTemporary(err) || opencti.IsRefused(err) {
		t.Errorf("Holds() = %v, %v", held, err)
	}
}

func TestAPlatformWithoutTheFilterIsAskedWithAsManyAliasesAsItTakes(t *testing.T) {
	const (
		armor = "Syntax Error: Aliases limit of %d exceeded, found %d."
		own   = "Allowed number of calls for Query->stixObjectOrStixRelationship has been exceeded (max: %d)"
	)
	for _, tt := range []struct {
		name    string
		most    int
		refusal string
		// once and again are the requests for 300 ids, the first time and afterwards.
		once, again int64
	}{
		{"no limit", 1 << 20, "", 1 + 3, 3},
		{"15", 15, armor, 1 + 3 + 25, 25}, // 100, 50, 25, then 12
		{"2", 2, own, 1 + 6 + 150, 150},   // 100, 50, 25, 12, 6, 3, then 2
		{"1", 1, own, 1 + 7 + 300, 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			held := func(id string) bool { return strings.Contains(id, "7-") }
			url, requests := serve(t, answers(before610(held, tt.most, fmt.Sprintf(tt.refusal, tt.most, 300))))
			c := connect(t, opencti.Config{URL: url})
			for round, want := range []int64{tt.once, tt.again} {
				before := requests.Load()
				known, err := c.Holds(t.Context(), indicators(300))
				if n := requests.Load() - before; err != nil || len(known) != 30 || n != want {
					t.Errorf("round %d: %d objects, %v, by %d requests instead of %d", round, len(known), err, n, want)
				}
				for id, kind := range known {
					if !held(id) || kind != "Indicator" {
						t.Errorf("%s is held as %s", id, kind)
					}
				}
			}
		})
	}
}

func TestQuestionsSideBySideLearnTogetherWhatAPlatformLacks(t *testing.T) {
	everything := before610(func(string) bool { return true }, 20, "Aliases limit of 20 exceeded, found 100.")
	var first sync.WaitGroup
	first.Add(4)
	url, _ := serve(t, answers(func(q question) string {
		if len(q.ids()) == 500 { // all of them are refused before one is
			first.Done()
			first.Wait()
		}
		return everything(q)
	}))
	held, err := connect(t, opencti.Config{URL: url}).Holds(t.Context(), indicators(2000))
	if err != nil || len(held) != 2000 {
		t.Errorf("Holds() = %d objects, %v", len(held), err)
	}
}

func TestAnAnswerThatLeavesOutAnIdIsNone(t *testing.T) {
	for _, data := range []string{`{"data":{"a0":null}}`, `{"data":{"a0":null,"a1":"Indicator"}}`} {
		url, _ := serve(t, answers(func(q question) string {
			if q.OperationName == "holdsByFilter" {
				return unknownQuery
			}
			return data
		}))
		if held, err := connect(t, opencti.Config{URL: url}).Holds(t.Context(), indicators(2)); err == nil || held != nil {
			t.Errorf("%s: Holds() = %v, %v", data, held, err)
		}
	}
}

func TestWhatAPlatformWillNeverAnswerIsToldFromWhatItMayAnswerLater(t *testing.T) {
	for _, tt := range []struct {
		name, body                       string
		status                           int
		unauthorized, forbidden, refused bool
	}{
		{"no right", `{"errors":[{"name":"FORBIDDEN_ACCESS","message":"You are not allowed to do this."}]}`, 200, true, true, true},
		{"no right, by code", `{"errors":[{"message":"no","extensions":{"code":"FORBIDDEN_ACCESS"}}]}`, 200, true, true, true},
		{"no right, with its status", `{"errors":[{"message":"no","extensions":{"code":"FORBIDDEN"}}]}`, 403, true, true, true},
		{"no right, as it once was", `{"errors":[{"name":"ForbiddenAccess"}]}`, 200, true, true, true},
		{"no token", `{"errors":[{"name":"AUTH_REQUIRED","message":"You must be logged in to do this."}]}`, 200, true, false, false},
		{"no token, so no right", `{"errors":[{"name":"FORBIDDEN_ACCESS"},{"name":"AUTH_REQUIRED"}]}`, 200, true, false, false},
		{"a second factor", `{"errors":[{"message":"You must validate your account with 2FA.","extensions":{"code":"OTP_REQUIRED"}}]}`, 200, true, false, false},
		{"a proxy's 403", `<title>403 Forbidden</title>`, 403, true, false, false},
		{"an unknown question", `{"errors":[{"message":"Cannot query field \"about\" on type \"Query\"."}]}`, 400, false, false, true},
		{"too many parts", `{"errors":[{"message":"Allowed number of calls for Query->about has been exceeded (max: 0)"}]}`, 400, false, false, true},
		{"an unknown argument of it", `{"errors":[{"message":"Unknown argument \"version\" on field \"Query.about\".","extensions":{"code":"BAD_USER_INPUT"}}]}`, 400, false, false, true},
		{"an unknown question, in other words", `{"errors":[{"message":"there is no about","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`, 400, false, false, true},
		{"something else is unknown", `{"errors":[{"message":"Cannot query field \"elsewhere\" on type \"Other\"."}]}`, 400, false, false, false},
		{"an input that it does not like", `{"errors":[{"message":"about this version nothing is said","extensions":{"code":"BAD_USER_INPUT"}}]}`, 400, false, false, false},
		{"too many requests", `{"errors":[{"message":"Rate limit of 10 exceeded, about to wait"}]}`, 200, false, false, false},
		{"too deep", `{"errors":[{"message":"Syntax Error: Query depth limit of 1 exceeded, found 2.","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`, 400, false, false, true},
		{"a proxy's 502", `<title>502</title>`, 502, false, false, false},
		{"the database away", `{"errors":[{"name":"DATABASE_ERROR","message":"x"}]}`, 200, false, false, false},
		{"anything else", `{"errors":[{"name":"UNKNOWN_ERROR","message":"An unknown error has occurred"}]}`, 200, false, false, false},
	} {
		url, _ := serve(t, answering(tt.status, "application/json", tt.body))
		_, err := connect(t, opencti.Config{URL: url}).Version(t.Context())
		if err == nil || opencti.IsUnauthorized(err) != tt.unauthorized || opencti.IsForbidden(err) != tt.forbidden || opencti.IsRefused(err) != tt.refused {
			t.Errorf("%s: %v: unauthorized %t, forbidden %t, refused %t", tt.name, err,
				opencti.IsUnauthorized(err), opencti.IsForbidden(err), opencti.IsRefused(err))
		}
	}
}

func TestThePlatformTellsWhichRelationshipsItTakes(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       map[string][]string
	}{
		{"taken", `{"data":{"schemaRelationsTypesMapping":[{"key":"Campaign_City","values":["targets","originates-from"]},{"key":"A_B","values":[]}]}}`,
			map[string][]string{"Campaign_City": {"targets", "originates-from"}, "A_B": nil}},
		{"none", `{"data":{"schemaRelationsTypesMapping":[]}}`, nil},
		{"unknown", `{"errors":[{"message":"Cannot query field \"schemaRelationsTypesMapping\" on type \"Query\"."}]}`, nil},
	} {
		url, _ := serve(t, answering(200, "application/json", tt.body))
		got, err := connect(t, opencti.Config{URL: url}).Relations(t.Context())
		if (err == nil) != (tt.want != nil) || !maps.EqualFunc(got, tt.want, slices.Equal) {
			t.Errorf("%s: Relations() = %v, %v", tt.name, got, err)
		}
	}
}
