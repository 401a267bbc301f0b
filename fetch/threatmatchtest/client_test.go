package threatmatchtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client calls a server as the API's description says, and fails the test on anything else.
type client struct {
	t     *testing.T
	base  string
	http  *http.Client
	token string
}

// serve starts a server on a real socket, and a client that has a token.
func serve(t *testing.T, config Config) (*Server, *client) {
	t.Helper()
	s := New(config)
	socket := httptest.NewServer(s)
	c := &client{t: t, base: socket.URL, http: &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}}
	t.Cleanup(func() {
		c.http.CloseIdleConnections()
		socket.CloseClientConnections()
		socket.Close()
	})
	c.login(s)
	return s, c
}

func (c *client) login(s *Server) {
	c.t.Helper()
	body := fmt.Sprintf(`{"client_id":%q,"client_secret":%q}`, s.config.ClientID, s.config.ClientSecret)
	res, err := c.http.Post(c.base+"/api/developers-platform/token", "application/json", strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct {
		Token   string      `json:"access_token"`
		Expires json.Number `json:"expires_at"`
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil || res.StatusCode != 200 || got.Token == "" {
		c.t.Fatalf("token: %d, %+v, %v", res.StatusCode, got, err)
	}
	if _, err := got.Expires.Float64(); err != nil {
		c.t.Fatalf("expires_at: %v", err)
	}
	c.token = got.Token
}

// do sends a call with all headers that it needs.
func (c *client) do(path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json")
	return c.http.Do(req)
}

// get decodes the answer of a call that must succeed.
func (c *client) get(path string, into any) {
	c.t.Helper()
	res, err := c.do(path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
		c.t.Fatalf("GET %s: %d %v %.200s", path, res.StatusCode, err, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		c.t.Fatalf("GET %s: %v", path, err)
	}
}

func (c *client) list(dataset string, since time.Time) []int64 {
	c.t.Helper()
	var got struct{ List []int64 }
	c.get("/api/"+dataset+"/all?"+url.Values{
		"mode": {"compact"}, "date_since": {since.UTC().Format("2006-01-02 15:04")},
	}.Encode(), &got)
	return got.List
}

func (c *client) item(dataset string, id int64) []json.RawMessage {
	c.t.Helper()
	var got struct{ Objects []json.RawMessage }
	c.get("/api/stix/"+dataset+"/"+strconv.FormatInt(id, 10), &got)
	if got.Objects == nil {
		c.t.Fatalf("item %d has no objects", id)
	}
	return got.Objects
}

type page struct {
	More    bool
	Objects []json.RawMessage
}

func (c *client) page(group string, after time.Time, layout string) page {
	c.t.Helper()
	var got page
	c.get("/api/taxii/objects?"+url.Values{
		"groupId": {group}, "stixTypeName": {"indicator"}, "modifiedAfter": {after.UTC().Format(layout)},
	}.Encode(), &got)
	return got
}

const millis = "2006-01-02T15:04:05.000Z"

// allContentID looks the group up.
func (c *client) allContentID() string {
	c.t.Helper()
	var groups []struct{ ID, Name string }
	c.get("/api/taxii/groups", &groups)
	for _, g := range groups {
		if g.Name == "All content" {
			return g.ID
		}
	}
	c.t.Fatalf("no group All content in %v", groups)
	return ""
}

// indicators reads every indicator from start on. It asks from a millisecond before the last one it has, which loses
// nothing in either reading, and knows what it has seen.
func (c *client) indicators(start time.Time) map[string][]byte {
	c.t.Helper()
	group, seen := c.allContentID(), map[string][]byte{}
	for after := start; ; {
		p := c.page(group, after, millis)
		fresh := 0
		for _, o := range p.Objects {
			i, err := parseIndicator(o)
			if err != nil {
				c.t.Fatal(err)
			}
			if _, has := seen[i.id]; !has {
				fresh++
				seen[i.id] = o
			}
			after = i.modified.Add(-time.Millisecond)
		}
		if !p.More || len(p.Objects) == 0 {
			return seen
		}
		if fresh == 0 {
			c.t.Fatalf("the page after %v brings nothing new", after)
		}
	}
}

// corpus finds the data beside the repository.
func corpus(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Skip("no go.mod above the package: the tests run outside their module")
		}
	}
	at := filepath.Join(dir, "..", "shared", "data", "corpus")
	if _, err := os.Stat(at); err != nil {
		t.Skipf("the corpus is not beside the repository: %v", err)
	}
	return at
}
