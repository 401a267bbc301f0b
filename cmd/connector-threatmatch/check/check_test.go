package check_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/check"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/connector"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/orders"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/state/index"
)

// page answers everything with a page of HTML.
func page(status int) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, "<html><head><title>Welcome</title></head></html>")
		})
	}
}

// late has a server's answers dated in the future.
func late(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(5*time.Minute).UTC().Format(http.TimeFormat))
		h.ServeHTTP(w, r)
	})
}

func TestEachBrokenPartIsNamedWithWhatToDo(t *testing.T) {
	for name, tt := range map[string]struct {
		broken  func(r *rig)
		failed  string // part and check
		detail  string
		remedy  string
		untried string // a check that could not be tried for that, if there is one
	}{
		"wrong secret": {
			broken: func(r *rig) { r.set["THREATMATCH_CLIENT_SECRET"] = "another-secret" },
			failed: "ThreatMatch, token", detail: "the client's id and secret are not accepted", remedy: "check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET",
			untried: "ThreatMatch, profiles",
		},
		"ThreatMatch is a page": {
			broken: func(r *rig) { r.around[api] = page(200) },
			failed: "ThreatMatch, token", detail: "is not ThreatMatch's API", remedy: "is THREATMATCH_URL ThreatMatch's base URL", untried: "ThreatMatch, iocs",
		},
		"ThreatMatch is a page that is not found": {
			broken: func(r *rig) { r.around[api] = page(404) },
			failed: "ThreatMatch, token", detail: "is not ThreatMatch's API (get token: 404 Not Found", remedy: "is THREATMATCH_URL ThreatMatch's base URL", untried: "ThreatMatch, iocs",
		},
		"ThreatMatch is a page that takes no posts": {
			broken: func(r *rig) { r.around[api] = page(501) },
			failed: "ThreatMatch, token", detail: "is not ThreatMatch's API (get token: 501 Not Implemented", remedy: "is THREATMATCH_URL ThreatMatch's base URL", untried: "ThreatMatch, iocs",
		},
		"ThreatMatch is down behind its proxy": {
			broken: func(r *rig) { r.around[api] = page(503) },
			failed: "ThreatMatch, token", detail: "503 Service Unavailable", remedy: "try again later", untried: "ThreatMatch, alerts",
		},
		"ThreatMatch's port speaks TLS": {
			broken: func(r *rig) {
				r.secure[api] = true
				r.serve()
				r.set[api] = strings.Replace(r.served[api].URL, "https:", "http:", 1)
			},
			failed: "ThreatMatch, token", detail: "speaks TLS", remedy: "let THREATMATCH_URL begin with https://", untried: "ThreatMatch, profiles",
		},
		"ThreatMatch's port speaks no TLS": {
			broken: func(r *rig) {
				r.serve()
				r.set[api] = strings.Replace(r.served[api].URL, "http:", "https:", 1)
			},
			failed: "ThreatMatch, connection", detail: "does not speak TLS", remedy: "let THREATMATCH_URL begin with http://", untried: "ThreatMatch, token",
		},
		"ThreatMatch's authority is unknown": {
			broken: func(r *rig) { r.secure[api] = true },
			failed: "ThreatMatch, connection", detail: "its certificate (O=Acme Co, issued by O=Acme Co, valid until 2084-01-29) comes from an authority that is not known here", remedy: "in HTTPS_CA_CERTIFICATES", untried: "ThreatMatch, token",
		},
		"ThreatMatch's host is unknown": {
			broken: func(r *rig) { r.set[api] = "https://threatmatch.invalid" },
			failed: "ThreatMatch, host name", detail: "threatmatch.invalid: its name cannot be resolved", remedy: "and THREATMATCH_URL", untried: "ThreatMatch, connection",
		},
		"ThreatMatch's port is closed": {
			broken: func(r *rig) { r.set[api] = "http://127.0.0.1:" + r.closedPort() },
			failed: "ThreatMatch, connection", detail: "nothing listens there", remedy: "check that it runs, and THREATMATCH_URL", untried: "ThreatMatch, token",
		},
		"a list fails": {
			broken: func(r *rig) {
				r.serve()
				r.apiNow.Fault(threatmatchtest.Rule{Path: "/api/alerts/all", Do: threatmatchtest.Status(403)})
			},
			failed: "ThreatMatch, alerts", detail: "may not read this (list alerts: 403 Forbidden", remedy: "switch the dataset off",
		},
		"a group is missing": {
			broken: func(r *rig) {
				r.serve()
				r.apiNow.Fault(threatmatchtest.Rule{Path: "/api/taxii/groups", Do: threatmatchtest.Body(`[{"id":"1","name":"Some content"}]`)})
			},
			failed: "ThreatMatch, iocs", detail: `"Some content"`, remedy: "THREATMATCH_IMPORT_IOCS=false",
		},
		"ThreatMatch's clock is off": {
			broken: func(r *rig) { r.api.Now = func() time.Time { return time.Now().Add(-time.Hour) } },
			failed: "ThreatMatch, clock", detail: "ahead of that of ThreatMatch", remedy: "set this machine's clock",
		},

		"wrong token": {
			broken: func(r *rig) { r.set["OPENCTI_TOKEN"] = "2b6a4f0e-0000-4c55-9d6e-0f6f7c3b1a20" },
			failed: "OpenCTI, user", detail: "does not know OPENCTI_TOKEN", remedy: "set OPENCTI_TOKEN to its token", untried: "RabbitMQ, address",
		},
		"a token without rights": {
			broken: func(r *rig) { r.platform.Capabilities = []string{"KNOWLEDGE"} },
			failed: "OpenCTI, rights", detail: "lacks CONNECTORAPI (to register, ping and learn of the queue), MODULES (to ask for its state, works and queue)",
			remedy: "OpenCTI's group Connectors", untried: "OpenCTI, connector",
		},
		"a token that cannot import": {
			broken: func(r *rig) {
				r.platform.Capabilities = []string{"KNOWLEDGE_KNASKIMPORT", "CONNECTORAPI", "MODULES", "SETTINGS_SETLABELS", "SETTINGS_SETMARKINGS"}
			},
			failed: "OpenCTI, rights", detail: "the user lacks KNOWLEDGE_KNUPDATE (to have its knowledge imported)", remedy: "OpenCTI's group Connectors",
		},
		"a user without confidence": {
			broken: func(r *rig) { r.platform.NoConfidence = true },
			failed: "OpenCTI, rights", detail: "no max confidence level", remedy: "a max confidence level in OpenCTI",
		},
		"OpenCTI is a page": {
			broken: func(r *rig) { r.around[platform] = page(200) },
			failed: "OpenCTI, version", detail: "what answers is not OpenCTI (an HTML page instead of JSON (Welcome), HTTP 200)", remedy: "is OPENCTI_URL this OpenCTI's base URL", untried: "OpenCTI, user",
		},
		"OpenCTI is not found": {
			broken: func(r *rig) { r.around[platform] = func(http.Handler) http.Handler { return http.NotFoundHandler() } },
			failed: "OpenCTI, version", detail: "HTTP 404)", remedy: "is OPENCTI_URL this OpenCTI's base URL", untried: "OpenCTI, state",
		},
		"OpenCTI's port speaks TLS": {
			broken: func(r *rig) {
				r.secure[platform] = true
				r.serve()
				r.set[platform] = strings.Replace(r.served[platform].URL, "https:", "http:", 1)
			},
			failed: "OpenCTI, version", detail: "speaks TLS", remedy: "let OPENCTI_URL begin with https://", untried: "OpenCTI, user",
		},
		"OpenCTI's port speaks no TLS": {
			broken: func(r *rig) {
				r.serve()
				r.set[platform] = strings.Replace(r.served[platform].URL, "http:", "https:", 1)
			},
			failed: "OpenCTI, connection", detail: "does not speak TLS", remedy: "let OPENCTI_URL begin with http://", untried: "RabbitMQ, address",
		},
		"OpenCTI's authority is unknown": {
			broken: func(r *rig) { r.secure[platform] = true },
			failed: "OpenCTI, connection", detail: "not known here", remedy: "HTTPS_CA_CERTIFICATES, or in a file whose path OPENCTI_SSL_VERIFY names", untried: "OpenCTI, version",
		},
		"OpenCTI's port is closed": {
			broken: func(r *rig) { r.set[platform] = "http://127.0.0.1:" + r.closedPort() },
			failed: "OpenCTI, connection", detail: "nothing listens", remedy: "check that it runs, and OPENCTI_URL", untried: "OpenCTI, clock",
		},
		"OpenCTI's clock is off": {
			broken: func(r *rig) { r.around[platform] = late },
			failed: "OpenCTI, clock", detail: "behind that of OpenCTI", remedy: "set this machine's clock",
		},
		"a state that cannot be read": {
			broken: func(r *rig) { registered(r); r.openctiNow.SetState(`{"last_run": true}`) },
			failed: "OpenCTI, state", detail: "not one that a connector for ThreatMatch has written", remedy: "reset the connector in OpenCTI",
		},
		"a full queue": {
			broken: func(r *rig) { registered(r); r.openctiNow.SetQueue(7, 500_000_000) },
			failed: "OpenCTI, queue", detail: "full: 7 messages, 500.0 MB", remedy: "OpenCTI's workers run",
		},

		"the broker's password is wrong": {
			broken: func(r *rig) { r.brokerIs(r.broker.Port(), "MQ_PASS", "another-password") },
			failed: "RabbitMQ, login", detail: "does not accept the password of the user opencti", remedy: "check MQ_USER and MQ_PASS", untried: "RabbitMQ, limits",
		},
		"the virtual host is missing": {
			broken: func(r *rig) { r.set["MQ_VHOST"] = "elsewhere" },
			failed: "RabbitMQ, login", detail: `no virtual host "elsewhere"`, remedy: "check MQ_VHOST", untried: "RabbitMQ, queue",
		},
		"the broker refuses": {
			broken: func(r *rig) { _ = r.broker.Refuse(true) },
			failed: "RabbitMQ, connection", detail: "nothing listens", remedy: "or MQ_HOST and MQ_PORT", untried: "RabbitMQ, login",
		},
		"the broker's port speaks TLS": {
			broken: func(r *rig) { r.brokerIs(r.secureBroker()) },
			failed: "RabbitMQ, login", detail: "speaks TLS", remedy: "set MQ_USE_SSL=true", untried: "RabbitMQ, limits",
		},
		"the broker's port speaks no TLS": {
			broken: func(r *rig) { r.brokerIs(r.broker.Port(), "MQ_USE_SSL", "true") },
			failed: "RabbitMQ, connection", detail: "does not speak TLS", remedy: "set MQ_USE_SSL=false", untried: "RabbitMQ, login",
		},
		"the broker's authority is unknown": {
			broken: func(r *rig) { r.brokerIs(r.secureBroker(), "MQ_USE_SSL", "true") },
			failed: "RabbitMQ, connection", detail: "not known here", remedy: "MQ_USE_SSL_CA or HTTPS_CA_CERTIFICATES", untried: "RabbitMQ, login",
		},
		"the broker's host is unknown": {
			broken: func(r *rig) { r.set["MQ_HOST"] = "rabbitmq.invalid" },
			failed: "RabbitMQ, host name", detail: "rabbitmq.invalid: its name", remedy: "or MQ_HOST and MQ_PORT", untried: "RabbitMQ, connection",
		},

		"the state folder cannot be made": {
			broken: func(r *rig) { r.set["CONNECTOR_STATE_DIR"] = filepath.Join(file(r.t), "state") },
			failed: "state folder, access", detail: "not a directory", remedy: "give CONNECTOR_STATE_DIR a folder", untried: "state folder, free space",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			tt.broken(r)
			found := r.look()
			got := found.of(tt.failed)
			if got.Status != check.Failed || !strings.Contains(got.Detail, tt.detail) || !strings.Contains(got.Remedy, tt.remedy) {
				t.Errorf("found %+v, want it to fail with %q and %q", got, tt.detail, tt.remedy)
			}
			for _, f := range found.list {
				if f.Status == check.Failed && f != got {
					t.Errorf("this failed, too: %+v", f)
				}
			}
			if tt.untried != "" {
				if then := found.of(tt.untried); then.Status != check.Untried || then.Detail == "" {
					t.Errorf("what could not be tried: %+v", then)
				}
			}
			if cause := check.Cause(found.list); cause == nil || cause.Error() != "one check failed: "+tt.failed {
				t.Errorf("the cause is %v", cause)
			}
			if text := found.String(); !strings.Contains(text, "✘ "+got.Part) || !strings.Contains(text, "→ ") {
				t.Errorf("people see\n%s", text)
			}
		})
	}
}

// file is a file where a folder is wanted.
func file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// registered serves the twins and registers the connector.
func registered(r *rig) {
	r.t.Helper()
	r.serve()
	c, err := opencti.New(opencti.Config{URL: r.served[platform].URL, Token: configtest.Token, ConnectorID: configtest.ConnectorID})
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Register(r.t.Context(), opencti.Registration{Name: "ThreatMatch", Scope: []string{"threatmatch"}}); err != nil {
		r.t.Fatal(err)
	}
}

// changing are the operations of OpenCTI that change something.
var changing = []string{"registerConnector", "pingConnector", "resetStateConnector", "workAdd", "workEdit", "addExpectations", "toProcessed"}

func TestWhereAllIsWellNothingIsChanged(t *testing.T) {
	for name, before := range map[string]func(*rig){
		"before the first start": (*rig).serve,
		"beside a connector":     registered,
		"over TLS": func(r *rig) {
			r.secure[api], r.secure[platform] = true, true
			r.serve()
			r.set["HTTPS_CA_CERTIFICATES"] = r.authority(r.served[api])
			r.brokerIs(r.secureBroker(), "MQ_USE_SSL", "true")
		},
		"in an older OpenCTI": func(r *rig) {
			r.platform.Version = "5.12.0"
			registered(r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			before(r)
			calls := map[string]int{}
			for _, operation := range changing {
				calls[operation] = r.openctiNow.Calls(operation)
			}
			changes := r.broker.Changes()
			found := r.look()
			for _, f := range found.list {
				if f.Status == check.Failed || f.Part != "RabbitMQ" && f.Check != "queue" && f.Status != check.OK {
					t.Errorf("%+v", f)
				}
			}
			if err := check.Cause(found.list); err != nil {
				t.Error(err)
			}
			for _, operation := range changing {
				if now := r.openctiNow.Calls(operation); now != calls[operation] {
					t.Errorf("OpenCTI was called %d times for %s", now-calls[operation], operation)
				}
			}
			if r.broker.Changes() != changes || r.broker.Published() != 0 {
				t.Errorf("the broker was changed %d times, and %d messages were published", r.broker.Changes()-changes, r.broker.Published())
			}
			if _, err := os.Stat(r.config().Connector.StateDir); !os.IsNotExist(err) {
				t.Errorf("the state folder was made: %v", err)
			}
			if name != "in an older OpenCTI" && found.of("RabbitMQ, login").Status != check.OK {
				t.Errorf("RabbitMQ was not reached:\n%s", found)
			}
		})
	}
}

func TestABrokerThatIsNotUsedIsNotLookedFor(t *testing.T) {
	for _, set := range []string{"CONNECTOR_QUEUE_PROTOCOL=api", "CONNECTOR_SEND_TO_QUEUE=false", "CONNECTOR_VALIDATE_BEFORE_IMPORT=true"} {
		r := newRig(t)
		name, value, _ := strings.Cut(set, "=")
		r.set[name], r.set["MQ_HOST"] = value, "nobody.invalid"
		for _, f := range r.look().list {
			if f.Part == "RabbitMQ" && (f.Status != check.OK || !strings.Contains(f.Detail, name)) {
				t.Errorf("%s: %+v", set, f)
			}
		}
	}
}

func TestTheBrokerOfAnOlderOpenCTIIsKnownAfterTheFirstStart(t *testing.T) {
	r := newRig(t)
	r.platform.Version = "5.12.0"
	found := r.look()
	if f := found.of("RabbitMQ, address"); f.Status != check.Untried || !strings.Contains(f.Detail, "known after the first start") || !strings.HasPrefix(f.Remedy, "to look at RabbitMQ all the same, set MQ_HOST") {
		t.Errorf("%+v", f)
	}
	if f := found.of("RabbitMQ, login"); f.Status != check.Untried || !strings.Contains(f.Detail, "address is not known") {
		t.Errorf("%+v", f)
	}
	r.brokerIs(r.broker.Port())
	if f := r.look().of("RabbitMQ, login"); f.Status != check.OK {
		t.Errorf("with the MQ settings: %+v", f)
	}
}

func TestAWayThatThisOpenCTIDoesNotKnowIsNamedBeforeARun(t *testing.T) {
	const draft, api = "CONNECTOR_VALIDATION_MODE=draft", "CONNECTOR_QUEUE_PROTOCOL=api"
	for _, tt := range []struct {
		version string
		set     [2]string // beside CONNECTOR_VALIDATE_BEFORE_IMPORT where it matters
		want    check.Finding
	}{
		{"6.1.0", [2]string{"CONNECTOR_VALIDATION_MODE", "draft"}, check.Finding{Status: check.Failed, Detail: draft + ": drafts need OpenCTI 6.4", Remedy: "set CONNECTOR_VALIDATION_MODE=workbench"}},
		{"6.1.0", [2]string{"CONNECTOR_QUEUE_PROTOCOL", "api"}, check.Finding{Status: check.Failed, Detail: api + ": bundles through the API need OpenCTI 6.3", Remedy: "set CONNECTOR_QUEUE_PROTOCOL=amqp"}},
		{"6.8.17", [2]string{"CONNECTOR_VALIDATION_MODE", "draft"}, check.Finding{Status: check.OK, Detail: draft}},
		{"6.8.17", [2]string{"CONNECTOR_QUEUE_PROTOCOL", "api"}, check.Finding{Status: check.OK, Detail: api}},
	} {
		r := newRig(t)
		r.platform.Version, r.set[tt.set[0]] = tt.version, tt.set[1]
		if tt.set[1] == "draft" {
			r.set["CONNECTOR_VALIDATE_BEFORE_IMPORT"] = "true"
		}
		if f := r.look().of("OpenCTI, way in"); f.Status != tt.want.Status || !strings.Contains(f.Detail, tt.want.Detail) || f.Remedy != tt.want.Remedy {
			t.Errorf("%s, %s: %+v", tt.version, tt.set, f)
		}
		if drafts := r.openctiNow.Drafts(); len(drafts) > 0 {
			t.Errorf("%s: it has opened %v", tt.version, drafts)
		}
	}
}

func TestAQueueOfWhichNothingIsToldIsNotCalledEmpty(t *testing.T) {
	r := newRig(t)
	r.platform.Version = "6.1.0"
	registered(r)
	if f := r.look().of("OpenCTI, queue"); f.Status != check.Untried || !strings.Contains(f.Detail, "this release of OpenCTI does not tell") {
		t.Errorf("%+v", f)
	}
}

func TestAConnectorThatRunsIsSeen(t *testing.T) {
	r := newRig(t)
	registered(r)
	found := r.look()
	if f := found.of("OpenCTI, connector"); !strings.Contains(f.Detail, "active") || !strings.Contains(f.Remedy, "do not start a second one") {
		t.Errorf("%+v", f)
	}
	if f := found.of("RabbitMQ, queue"); f.Status != check.OK || !strings.Contains(f.Detail, "push_"+configtest.ConnectorID+" holds 0 messages") {
		t.Errorf("%+v", f)
	}
	r.broker.DeleteQueue("push_" + configtest.ConnectorID)
	if f := r.look().of("RabbitMQ, queue"); f.Status != check.OK || !strings.Contains(f.Detail, "declares it again") {
		t.Errorf("without its queue: %+v", f)
	}
}

func TestAConnectorThatWasStoppedIsSeen(t *testing.T) {
	for _, version := range []string{"", "5.12.0"} {
		r := newRig(t)
		r.platform.Version = version
		registered(r)
		r.openctiNow.LastHeard(time.Hour)
		f := r.look().of("OpenCTI, connector")
		if f.Status != check.OK || !strings.Contains(f.Detail, "not active, last heard of 20") || f.Remedy != "" {
			t.Errorf("%s: %+v", version, f)
		}
		if err := r.openctiNow.Reset(); err != nil {
			t.Fatal(err)
		}
		r.openctiNow.LastHeard(time.Hour)
		if f := r.look().of("OpenCTI, connector"); !strings.Contains(f.Detail, "it was reset") {
			t.Errorf("%s, reset: %+v", version, f)
		}
	}
}

// A start warns of it in the same words.
func TestAnImportStartBeforeWhatWasImportedIsToBeMinded(t *testing.T) {
	for name, tt := range map[string]struct {
		set    map[string]string
		minded bool
	}{
		"earlier":                      {map[string]string{"THREATMATCH_IMPORT_FROM_DATE": "2025-04-01"}, true},
		"a day earlier":                {map[string]string{"THREATMATCH_IMPORT_FROM_DATE": "2025-04-09"}, false},
		"the same":                     {map[string]string{"THREATMATCH_IMPORT_FROM_DATE": "2025-04-10"}, false},
		"later":                        {map[string]string{"THREATMATCH_IMPORT_FROM_DATE": "2025-04-11"}, false},
		"earlier, and all comes again": {map[string]string{"THREATMATCH_IMPORT_FROM_DATE": "2025-04-01", "CONNECTOR_REIMPORT": "true"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			registered(r)
			r.openctiNow.SetState(`{"last_run":"2025-04-17T15:24:00+00:00","datasets":{"alerts":{"since":"2025-04-17T15:24:00Z"}},"beginning":"2025-04-10T00:00:00Z","version":1}`)
			maps.Copy(r.set, tt.set)
			f := r.look().of("OpenCTI, state")
			if minded := strings.HasPrefix(f.Remedy, "THREATMATCH_IMPORT_FROM_DATE lies before "); f.Status != check.OK || minded != tt.minded {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestRightsThatCostSomeKnowledgeOnlyAreNoFailure(t *testing.T) {
	r := newRig(t)
	r.platform.Capabilities = []string{"KNOWLEDGE_KNUPDATE", "KNOWLEDGE_KNASKIMPORT", "CONNECTORAPI", "MODULES"}
	if f := r.look().of("OpenCTI, rights"); f.Status != check.OK || !strings.Contains(f.Detail, "SETTINGS_SETLABELS") || f.Remedy == "" {
		t.Errorf("%+v", f)
	}
	r = newRig(t)
	r.platform.Capabilities = []string{"BYPASS"}
	if f := r.look().of("OpenCTI, rights"); f.Status != check.OK || f.Remedy != "" {
		t.Errorf("who may do everything: %+v", f)
	}
}

func TestAFolderInUseIsLeftToItsHolder(t *testing.T) {
	r := newRig(t)
	r.serve()
	cfg := r.config()
	open := func() *index.Index {
		x, opening, err := index.Open(t.Context(), cfg.Connector.StateDir, connector.Identity(cfg), index.Options{})
		if err != nil || opening.Temporary {
			t.Fatalf("%+v, %v", opening, err)
		}
		return x
	}
	x := open()
	x.Put(index.KeyOf("indicator--1"), index.Record{Digest: 1})
	if err := x.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := r.look().of("state folder, index")
	if runtime.GOOS == "linux" && (f.Status != check.OK || !strings.Contains(f.Detail, fmt.Sprintf("in use by process %d ", os.Getpid()))) {
		t.Errorf("while it is in use: %+v", f)
	}
	if runtime.GOOS == "linux" && !strings.Contains(f.Remedy, "a second one needs its own") {
		t.Errorf("nobody answers there, and it passes for the connector's own: %+v", f)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if f := r.look().of("state folder, index"); f.Status != check.OK || f.Detail != "holds 1 delivered object" {
		t.Errorf("when it is free: %+v", f)
	}
	r.set["THREATMATCH_TLP_LEVEL"] = "red"
	if f := r.look().of("state folder, index"); f.Status != check.OK || !strings.Contains(f.Detail, "begins an empty one") || f.Remedy == "" {
		t.Errorf("with another mapping: %+v", f)
	}
	if err := open().Close(); err != nil {
		t.Error(err)
	}
}

// idleDesk has no backfill.
type idleDesk struct{ orders.Desk }

func (idleDesk) Progress() orders.Progress { return orders.Progress{Phase: orders.None} }

func TestBesideTheConnectorThatRunsItsFolderIsNoProblem(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("this system does not tell who holds a lock")
	}
	r := newRig(t)
	r.serve()
	cfg := r.config()
	x, opening, err := index.Open(t.Context(), cfg.Connector.StateDir, connector.Identity(cfg), index.Options{})
	if err != nil || opening.Temporary {
		t.Fatalf("%+v, %v", opening, err)
	}
	defer x.Close()
	server, err := orders.Serve(cfg.Connector.StateDir, idleDesk{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if f := r.look().of("state folder, index"); f.Status != check.OK || f.Remedy != "" || !strings.Contains(f.Detail, "in use by the connector that runs here") {
		t.Errorf("beside the connector: %+v", f)
	}
	r.set["THREATMATCH_TLP_LEVEL"] = "red"
	if f := r.look().of("state folder, index"); !strings.Contains(f.Remedy, "a second one needs its own") {
		t.Errorf("another connector takes the folder for its own: %+v", f)
	}
}

func TestAFolderThatMayNotBeWrittenToIsNamed(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	r := newRig(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	r.set["CONNECTOR_STATE_DIR"] = dir
	if f := r.look().of("state folder, access"); f.Status != check.Failed || !strings.Contains(f.Detail, "cannot be written to") || !strings.Contains(f.Remedy, "CONNECTOR_STATE_DIR") {
		t.Errorf("%+v", f)
	}
}

// Whoever takes connections and says nothing keeps nobody.
func TestALookEndsWithItsContext(t *testing.T) {
	silent := configtest.Listen(t, "127.0.0.1")
	defer silent.Close()
	r := newRig(t)
	r.set[platform] = "http://" + silent.Addr().String()
	r.serve()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			accepting.Go(func() {
				defer conn.Close()
				if n, _ := conn.Read(make([]byte, 1<<10)); n > 0 {
					cancel() // it has been asked
				}
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	found := findings{t, check.Run(ctx, r.config(), "test")}
	silent.Close()
	accepting.Wait()
	if f := found.of("OpenCTI, version"); f.Status != check.Failed || !strings.Contains(f.Detail, "nothing comes back") {
		t.Errorf("%+v", f)
	}
	if f := found.of("RabbitMQ, address"); f.Status != check.Untried {
		t.Errorf("%+v", f)
	}
}

func TestAConfigurationThatIsWrongIsToldWithAllThatIsWrong(t *testing.T) {
	_, warnings, err := config.Load("", false, []string{"OPENCTI_URL=nowhere"})
	found := findings{t, check.Configuration(config.Config{}, warnings, err)}
	text := found.String()
	for part, set := range map[string]config.Config{"directory": {Directory: config.Directory{On: true}}, "S3 bucket": {S3: config.S3{On: true}}} {
		line := "– " + part + " "
		if with := (findings{t, check.Configuration(set, warnings, err)}).String(); !strings.Contains(with, line) || strings.Contains(text, line) {
			t.Errorf("%s: it is not told that it was not tried, or is where nothing goes there:\n%s", part, with)
		}
	}
	for _, want := range []string{"✘ configuration settings     5 problems", `OPENCTI_URL is "nowhere"`, "– OpenCTI       all          not tried: the configuration is wrong"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	cfg, warnings, err := config.Load("", false, configtest.Environ(map[string]string{"OPENCTI_SSL_VERIFY": "false"}))
	found = findings{t, check.Configuration(cfg, warnings, err)}
	if f := found.of("configuration, warning"); f.Status != check.OK || !strings.Contains(f.Detail, "OPENCTI_SSL_VERIFY=false") {
		t.Errorf("%+v", f)
	}
	if text := found.String(); !strings.Contains(text, "\n! configuration warning ") {
		t.Errorf("a warning looks like\n%s", text)
	}
}

func TestWhatOneFailureMakesFutileTakesALine(t *testing.T) {
	r := newRig(t)
	r.set[api] = "http://127.0.0.1:" + r.closedPort()
	found := r.look()
	want := "– ThreatMatch   not tried    token, profiles, alerts, iocs, clock: connection failed\n"
	if text := found.String(); !strings.Contains(text, want) || strings.Count(text, "connection failed") != 1 {
		t.Errorf("%q is missing, or more is said, in\n%s", want, text)
	}
	if f := found.of("ThreatMatch, clock"); f.Status != check.Untried || f.Detail != "not tried: connection failed" {
		t.Errorf("scripts see %+v", f)
	}
}

// mute is a server that takes connections and says nothing.
func mute(t *testing.T) (host, port string) {
	t.Helper()
	l := configtest.Listen(t, "127.0.0.1")
	var holding sync.WaitGroup
	holding.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			holding.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); holding.Wait() })
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

func TestWhatTakesConnectionsAndSaysNothingIsNamedAsThat(t *testing.T) {
	for failed, lead := range map[string]func(r *rig, host, port string){
		"ThreatMatch, token": func(r *rig, host, port string) { r.set[api] = "http://" + net.JoinHostPort(host, port) },
		"OpenCTI, version":   func(r *rig, host, port string) { r.set[platform] = "http://" + net.JoinHostPort(host, port) },
		"RabbitMQ, login":    func(r *rig, host, port string) { r.set["MQ_HOST"], r.set["MQ_PORT"] = host, port },
		"RabbitMQ, connection": func(r *rig, host, port string) {
			r.set["MQ_HOST"], r.set["MQ_PORT"], r.set["MQ_USE_SSL"] = host, port, "true"
		},
	} {
		t.Run(failed, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			host, port := mute(t)
			lead(r, host, port)
			f := r.look().of(failed)
			remedy := "see whether it hangs or is overloaded"
			if failed == "RabbitMQ, connection" {
				remedy = "if this port does not speak TLS, set MQ_USE_SSL=false"
			}
			if f.Status != check.Failed || !strings.Contains(f.Detail, "nothing comes back") || !strings.Contains(f.Remedy, remedy) {
				t.Errorf("%+v", f)
			}
		})
	}
}

// Of several hosts one that serves is enough, and each that does not is named; where none does, that fails.
func TestEachHostOfABrokerIsLookedAt(t *testing.T) {
	r := newRig(t)
	closed := r.closedPort()
	r.brokerIs(1, "MQ_HOST", "127.0.0.1:"+closed+",rabbitmq.invalid,127.0.0.1:"+strconv.Itoa(r.broker.Port()))
	found := r.look()
	var lines []string
	for _, f := range found.list {
		if f.Part == "RabbitMQ" && f.Check == "host" {
			lines = append(lines, string(f.Status)+" "+f.Detail+" → "+f.Remedy)
		}
		if f.Status == check.Failed {
			t.Errorf("this failed: %+v", f)
		}
	}
	for i, want := range []string{
		"^ok 127.0.0.1:" + closed + ": nothing listens there; .*other hosts → check that it runs",
		"^ok rabbitmq.invalid: its name cannot be resolved; .*other hosts → check the DNS",
		"^ok 127.0.0.1 is an address, .*, as opencti, to .* → $",
	} {
		if i >= len(lines) || !regexp.MustCompile(want).MatchString(lines[i]) {
			t.Errorf("host %d: %q, want %s", i, lines, want)
		}
	}
	if f := found.of("RabbitMQ, queue"); f.Status == check.Untried && strings.Contains(f.Detail, "not tried") {
		t.Errorf("the host that serves was not looked at further: %+v", f)
	}

	r.brokerIs(1, "MQ_HOST", "127.0.0.1:"+closed+",rabbitmq.invalid")
	found = r.look()
	if f := found.of("RabbitMQ, host"); f.Status != check.Failed || !strings.Contains(f.Detail, closed) {
		t.Errorf("found %+v", f)
	}
	if f := found.of("RabbitMQ, limits"); f.Status != check.Untried {
		t.Errorf("found %+v", f)
	}
}
