package openctitest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/emit/openctitest"
)

const token = "t0ken-of-the-tests"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type platform struct {
	*openctitest.Platform
	t   *testing.T
	url string
}

func start(t *testing.T, cfg openctitest.Config) *platform {
	t.Helper()
	cfg.Token = token
	p, err := openctitest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return &platform{p, t, server.URL + "/graphql"}
}

type reply struct {
	status int
	Data   map[string]any
	Errors []struct {
		Message, Name string
		Extensions    struct{ Code string }
	}
}

func (r reply) code() string {
	if len(r.Errors) == 0 {
		return ""
	}
	return r.Errors[0].Extensions.Code
}

func (p *platform) post(header http.Header, body []byte) (reply, error) {
	req, err := http.NewRequest(http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	r := reply{status: resp.StatusCode}
	if resp.Header.Get("Content-Type") == "application/json; charset=utf-8" {
		if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
			return r, err
		}
	}
	return r, nil
}

func headers() http.Header {
	return http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
}

type vars map[string]any

func (p *platform) ask(query string, variables vars) reply {
	p.t.Helper()
	name := "" // of several operations the first
	if rest, several := strings.CutPrefix(query, "query q "); several && strings.Contains(rest, "} mutation m") {
		name = "q"
	}
	body, err := json.Marshal(map[string]any{"operationName": name, "query": query, "variables": variables})
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := p.post(headers(), body)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *platform) register() reply {
	p.t.Helper()
	return p.registerAs("c1")
}

func (p *platform) registerAs(id string) reply {
	p.t.Helper()
	r := p.ask(`mutation($i: RegisterConnectorInput) { registerConnector(input: $i) {
		id connector_state config { push_exchange push_routing connection { host port vhost user pass use_ssl } } } }`,
		vars{"i": vars{"id": id, "name": "ThreatMatch", "type": "EXTERNAL_IMPORT", "scope": []string{"x"}}})
	return r
}

func (p *platform) mustRegister() reply {
	p.t.Helper()
	r := p.register()
	if r.Errors != nil {
		p.t.Fatal(r.Errors)
	}
	return r
}

func (p *platform) ping(state string) reply {
	p.t.Helper()
	return p.ask(`mutation($s: String) { pingConnector(id: "c1", state: $s) { connector_state } }`, vars{"s": state})
}

func (p *platform) openWork() string {
	p.t.Helper()
	r := p.ask(`mutation { workAdd(connectorId: "c1", friendlyName: "run") { id } }`, nil)
	if r.Errors != nil {
		p.t.Fatal(r.Errors)
	}
	return r.Data["workAdd"].(map[string]any)["id"].(string)
}
