package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

func load(t *testing.T, changes map[string]string) Config {
	t.Helper()
	cfg, _, err := Load("", false, configtest.Environ(changes))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestABlankStatusAddressSwitchesItOff(t *testing.T) {
	unset := slices.DeleteFunc(configtest.Environ(nil), func(pair string) bool { return strings.HasPrefix(pair, "CONNECTOR_STATUS_ADDRESS=") })
	for _, tt := range []struct {
		name, variable, file, want string
	}{
		{name: "not set", want: "127.0.0.1:9096"},
		{name: "set", variable: "CONNECTOR_STATUS_ADDRESS=:8080", want: ":8080"},
		{name: "blank", variable: "CONNECTOR_STATUS_ADDRESS= ", want: ""},
		{name: "off", variable: "CONNECTOR_STATUS_ADDRESS=Off", want: ""},
		{name: "blank in the file", variable: "CONNECTOR_STATUS_ADDRESS=:8080", file: "connector:\n  status_address: ''\n", want: ""},
		{name: "in the file", variable: "CONNECTOR_STATUS_ADDRESS=", file: "connector:\n  status_address: '[::1]:9096'\n", want: "[::1]:9096"},
	} {
		path, environ := "", unset
		if tt.file != "" {
			path = writeFile(t, tt.file)
		}
		if tt.variable != "" {
			environ = append(slices.Clone(unset), tt.variable)
		}
		if c, _, err := Load(path, path != "", environ); err != nil || c.Connector.StatusAddress != tt.want {
			t.Errorf("%s: %q, %v", tt.name, c.Connector.StatusAddress, err)
		}
	}
}

func TestTheDefaultsAreThoseOfTheTable(t *testing.T) {
	c := load(t, nil)
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	for name, same := range map[string]bool{
		"name":        c.Connector.Name == "ThreatMatch",
		"scope":       slices.Equal(c.Connector.Scope, []string{"threatmatch"}),
		"level":       c.Connector.LogLevel == LogError,
		"period":      c.Connector.Period.After(now).Equal(now.AddDate(0, 0, 1)),
		"run once":    !c.Connector.RunOnce(),
		"threshold":   c.Connector.QueueThreshold == 500,
		"message":     c.Connector.MaxMessageBytes == 15<<20,
		"url":         c.ThreatMatch.URL == "https://eu.threatmatch.com",
		"from":        c.ThreatMatch.ImportFrom.From(now).Equal(now.AddDate(0, 0, -30)),
		"datasets":    c.ThreatMatch.Profiles && c.ThreatMatch.Alerts && c.ThreatMatch.IOCs && !c.ThreatMatch.Reports,
		"tlp":         c.ThreatMatch.TLP == TLPAmber,
		"actors":      c.ThreatMatch.ThreatActorAsIntrusionSet,
		"description": c.ThreatMatch.DescriptionFormat == DescriptionMarkdown,
		"labels":      c.ThreatMatch.Labels == LabelsKnowledge,
		"relations":   c.Connector.Relations == RelationsFit,
		"rate":        c.ThreatMatch.RateLimit == 20,
		"concurrency": c.ThreatMatch.Concurrency == 8,
		"verify":      c.OpenCTI.TLS.Verify && c.MQ.RejectUnauthorized,
		"json":        c.OpenCTI.JSONLogging,
		"filters":     c.ThreatMatch.MaxTLP == "" && c.ThreatMatch.Types == nil && c.ThreatMatch.ExcludeTypes == nil && c.ThreatMatch.MinConfidence == 0 && c.ThreatMatch.MinScore == 0 && c.ThreatMatch.Tags == nil && c.ThreatMatch.ExcludeTags == nil,
		"additions":   !c.ThreatMatch.CreateObservables && c.ThreatMatch.Score == nil,
		"broker":      c.MQ.UseSSL == nil && c.MQ.Hosts == nil && c.MQ.Port == 0 && c.MQ.VHost == "",
		"directory":   !c.Directory.On && c.Directory.Days == 7,
		"s3":          !c.S3.On && c.S3.Folder == "connectors" && c.S3.Days == 7 && c.S3.UseSSL == nil && !c.S3.Role,
	} {
		if !same {
			t.Errorf("%s is not the default: %s", name, c)
		}
	}
}

func TestEveryWayToWriteAValueIsRead(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	hosts := func(c Config) any { return fmt.Sprint(c.MQ.Hosts) }
	for _, tt := range []struct {
		env, value string
		got        func(Config) any
		want       any
	}{
		{"OPENCTI_URL", " http://opencti:8080/ ", func(c Config) any { return c.OpenCTI.URL }, "http://opencti:8080"},
		{"THREATMATCH_URL", "HTTPS://eu.threatmatch.com//", func(c Config) any { return c.ThreatMatch.URL }, "HTTPS://eu.threatmatch.com"},
		{"OPENCTI_URL", "https://host/opencti/", func(c Config) any { return c.OpenCTI.URL }, "https://host/opencti"},
		{"OPENCTI_URL", "http://[::1]:8080", func(c Config) any { return c.OpenCTI.URL }, "http://[::1]:8080"},
		{"OPENCTI_SSL_VERIFY", "False", func(c Config) any { return c.OpenCTI.TLS.Verify }, false},
		{"OPENCTI_CUSTOM_HEADERS", "X-One: a:b; X-Two : c;", func(c Config) any { return c.OpenCTI.Headers["X-One"][0] + c.OpenCTI.Headers["X-Two"][0] }, "a:bc"},
		{"CONNECTOR_ID", strings.ToUpper(configtest.ConnectorID), func(c Config) any { return c.Connector.ID }, strings.ToUpper(configtest.ConnectorID)},
		{"CONNECTOR_ID", "threatmatch-connector-id", func(c Config) any { return c.Connector.ID }, "threatmatch-connector-id"},
		{"CONNECTOR_TYPE", "external_import", func(c Config) any { return c.Connector.Type }, "EXTERNAL_IMPORT"},
		{"CONNECTOR_SCOPE", "a, b ,,c", func(c Config) any { return strings.Join(c.Connector.Scope, "|") }, "a|b|c"},
		{"CONNECTOR_LOG_LEVEL", "WARNING", func(c Config) any { return c.Connector.LogLevel }, LogWarn},
		{"CONNECTOR_LOG_LEVEL", "Debug", func(c Config) any { return c.Connector.LogLevel }, LogDebug},
		{"CONNECTOR_DURATION_PERIOD", "PT0S", func(c Config) any { return c.Connector.RunOnce() }, true},
		{"CONNECTOR_VERIFY_AFTER", "0", func(c Config) any { return c.Connector.VerifyAfter.IsZero() }, true},
		{"CONNECTOR_VERIFY_AFTER", "P1M", func(c Config) any { return c.Connector.VerifyAfter.Longest() }, 31 * 24 * time.Hour},
		{"CONNECTOR_DURATION_PERIOD", "P0D", func(c Config) any { return c.Connector.RunOnce() }, true},
		{"CONNECTOR_DURATION_PERIOD", "PT0.5S", func(c Config) any { return c.Connector.Period.Clock }, 500 * time.Millisecond},
		{"CONNECTOR_RUN_AND_TERMINATE", "yes", func(c Config) any { return c.Connector.RunOnce() }, true},
		{"CONNECTOR_RUN_AND_TERMINATE", "ON", func(c Config) any { return c.Connector.RunOnce() }, true},
		{"CONNECTOR_REIMPORT", "1", func(c Config) any { return c.Connector.Reimport }, true},
		{"CONNECTOR_RELATIONS", "AS-IS", func(c Config) any { return c.Connector.Relations }, RelationsAsIs},
		{"CONNECTOR_SEND_TO_QUEUE", "false", func(c Config) any { return c.Connector.SendToQueue }, false},
		{"CONNECTOR_QUEUE_PROTOCOL", "API", func(c Config) any { return c.Connector.QueueProtocol }, QueueAPI},
		{"QUEUE_PROTOCOL", "api", func(c Config) any { return c.Connector.QueueProtocol }, QueueAPI},
		{"CONNECTOR_VALIDATE_BEFORE_IMPORT", "True", func(c Config) any { return c.Connector.ValidateBeforeImport }, true},
		{"CONNECTOR_VALIDATION_MODE", "Draft", func(c Config) any { return c.Connector.ValidationMode }, ValidationDraft},
		{"CONNECTOR_QUEUE_THRESHOLD", "0.5", func(c Config) any { return c.Connector.QueueThreshold }, 0.5},
		{"THREATMATCH_LABELS", "Keep", func(c Config) any { return c.ThreatMatch.Labels }, LabelsKeep},
		{"THREATMATCH_MAX_TLP", "TLP:Amber+Strict", func(c Config) any { return c.ThreatMatch.MaxTLP }, TLPAmberStrict},
		{"THREATMATCH_TYPES", "Indicator, malware", func(c Config) any { return strings.Join(c.ThreatMatch.Types, "|") }, "indicator|malware"},
		{"THREATMATCH_EXCLUDE_TYPES", "sighting", func(c Config) any { return strings.Join(c.ThreatMatch.ExcludeTypes, "|") }, "sighting"},
		{"THREATMATCH_TAGS", "Espionage, Russia", func(c Config) any { return strings.Join(c.ThreatMatch.Tags, "|") }, "Espionage|Russia"},
		{"THREATMATCH_EXCLUDE_TAGS", "Aerospace, defence & security; Russia;", func(c Config) any { return strings.Join(c.ThreatMatch.ExcludeTags, "|") }, "Aerospace, defence & security|Russia"},
		{"THREATMATCH_MIN_CONFIDENCE", "0", func(c Config) any { return c.ThreatMatch.MinConfidence }, 0},
		{"THREATMATCH_MIN_SCORE", "100", func(c Config) any { return c.ThreatMatch.MinScore }, 100},
		{"THREATMATCH_SCORE", "0", func(c Config) any { return *c.ThreatMatch.Score }, 0},
		{"THREATMATCH_RATE_LIMIT", "0", func(c Config) any { return c.ThreatMatch.RateLimit }, 0.0},
		{"THREATMATCH_TLP_LEVEL", "TLP:AMBER+STRICT", func(c Config) any { return c.ThreatMatch.TLP }, TLPAmberStrict},
		{"THREATMATCH_TLP_LEVEL", "White", func(c Config) any { return c.ThreatMatch.TLP }, TLPWhite},
		{"THREATMATCH_THREAT_ACTOR_AS_INSTRUSION_SET", "off", func(c Config) any { return c.ThreatMatch.ThreatActorAsIntrusionSet }, false},
		{"THREATMATCH_THREAT_ACTOR_AS_INTRUSION_SET", "no", func(c Config) any { return c.ThreatMatch.ThreatActorAsIntrusionSet }, false},
		{"THREATMATCH_IMPORT_FROM_DATE", "2024-03-05", func(c Config) any { return c.ThreatMatch.ImportFrom.From(time.Now()) }, at("2024-03-05T00:00:00Z")},
		{"THREATMATCH_IMPORT_FROM_DATE", "2024-03-05T06:07:08+02:00", func(c Config) any { return c.ThreatMatch.ImportFrom.From(time.Now()) }, at("2024-03-05T04:07:08Z")},
		{"THREATMATCH_IMPORT_FROM_DATE", "2025-01-01 00:00", func(c Config) any { return c.ThreatMatch.ImportFrom.From(time.Now()) }, at("2025-01-01T00:00:00Z")},
		{"THREATMATCH_IMPORT_FROM_DATE", "2025-01-01 10:20:30", func(c Config) any { return c.ThreatMatch.ImportFrom.From(time.Now()) }, at("2025-01-01T10:20:30Z")},
		{"THREATMATCH_IMPORT_FROM_DATE", "2025-01-01T10:20:30.5", func(c Config) any { return c.ThreatMatch.ImportFrom.From(time.Now()) }, at("2025-01-01T10:20:30.5Z")},
		{"THREATMATCH_IMPORT_FROM_DATE", "2025-01-01T10:20", func(c Config) any { return c.ThreatMatch.ImportFrom.From(time.Now()) }, at("2025-01-01T10:20:00Z")},
		{"THREATMATCH_IMPORT_FROM_DATE", "2025-01-01 10:20+02:00", func(c Config) any { return c.ThreatMatch.ImportFrom.From(time.Now()) }, at("2025-01-01T08:20:00Z")},
		{"THREATMATCH_IMPORT_FROM_DATE", "2025-01-01 10:20:30+02:00", func(c Config) any { return c.ThreatMatch.ImportFrom.From(time.Now()) }, at("2025-01-01T08:20:30Z")},
		{"MQ_HOST", "rabbit_mq.internal", hosts, "[{rabbit_mq.internal 0}]"},
		{"MQ_HOST", "10.0.0.1", hosts, "[{10.0.0.1 0}]"},
		{"MQ_HOST", "fe80::1%eth0", hosts, "[{fe80::1%eth0 0}]"},
		{"MQ_HOST", "[::1]", hosts, "[{::1 0}]"},
		{"MQ_HOST", "10.0.0.1:5673", hosts, "[{10.0.0.1 5673}]"},
		{"MQ_HOST", "a, b:5673,[fe80::1%eth0]:5674,::1", hosts, "[{a 0} {b 5673} {fe80::1%eth0 5674} {::1 0}]"},
		{"CONNECTOR_SEND_TO_DIRECTORY_RETENTION", "0", func(c Config) any { return c.Directory.Days }, 0},
		{"CONNECTOR_SEND_TO_S3_FOLDER", "/a/b/", func(c Config) any { return c.S3.Folder }, "a/b"},
		{"CONNECTOR_SEND_TO_S3_FOLDER", "/", func(c Config) any { return c.S3.Folder }, ""},
		{"CONNECTOR_SEND_TO_S3_FOLDER", ".", func(c Config) any { return c.S3.Folder }, ""},
		{"S3_ENDPOINT", "[::1]", func(c Config) any { return c.S3.Endpoint }, "::1"},
		{"S3_USE_SSL", "no", func(c Config) any { return *c.S3.UseSSL }, false},
		{"MQ_USE_SSL", "false", func(c Config) any { return *c.MQ.UseSSL }, false},
		{"MQ_PASS", configtest.ClientSecret, func(c Config) any { return c.MQ.Pass.Reveal() }, configtest.ClientSecret},
		{"https_proxy", "proxy:3128", func(c Config) any { return c.Network.HTTPSProxy.Reveal() }, "proxy:3128"},
		{"HTTPS_PROXY", "socks5://me:secret@proxy:1080", func(c Config) any { return c.Network.HTTPSProxy.Reveal() }, "socks5://me:secret@proxy:1080"},
		{"MQ_PROXY", "socks5h://proxy:1080", func(c Config) any { return c.MQ.Proxy }, BrokerProxy{URL: "socks5h://proxy:1080"}},
		{"MQ_PROXY", "Environment", func(c Config) any { return c.MQ.Proxy }, BrokerProxy{Environment: true}},
		{"MQ_PROXY", "proxy:3128", func(c Config) any { return c.MQ.Proxy }, BrokerProxy{URL: "proxy:3128"}},
		{"CONNECTOR_NAME", "  ", func(c Config) any { return c.Connector.Name }, "ThreatMatch"},
	} {
		t.Run(tt.env+"="+tt.value, func(t *testing.T) {
			got := tt.got(load(t, map[string]string{tt.env: tt.value}))
			if moment, ok := tt.want.(time.Time); ok {
				if !moment.Equal(got.(time.Time)) {
					t.Errorf("got %v, want %v", got, moment)
				}
			} else if got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func badValues() map[string][]string {
	return map[string][]string{
		"OPENCTI_URL":                               {"opencti:8080", "ftp://host", "http://", "http://user:pw@host", "http://host?x=1", "http://host#x", "http://host:99999", "localhost", "ChangeMe", "http://a b"},
		"OPENCTI_TOKEN":                             {"ChangeMe", "a\nb"},
		"OPENCTI_SSL_VERIFY":                        {"maybe", "/no/such/file"},
		"OPENCTI_CUSTOM_HEADERS":                    {"no colon", "bad name: x", "A: b\nC: d", "X-Key: a;b", "authorization: Bearer x", "X-One: a; Host: opencti", "content-type: text/plain"},
		"OPENCTI_JSON_LOGGING":                      {"json", "2", "truee"},
		"CONNECTOR_ID":                              {"two words", "ChangeMe", "{" + configtest.ConnectorID + "}", "a/b", "100%", "é", strings.Repeat("x", 201)},
		"CONNECTOR_TYPE":                            {"INTERNAL_ENRICHMENT"},
		"CONNECTOR_SCOPE":                           {",", ", ,"},
		"MQ_PROXY":                                  {"enviroment", "ftp://proxy:21", "socks4://proxy:1080", "http://"},
		"CONNECTOR_LOG_LEVEL":                       {"loud", "info,debug", "0"},
		"CONNECTOR_DURATION_PERIOD":                 {"1 day", "P", "PT", "P1DT", "-P1D", "P-1D", "P99999999Y", "P1", "P1Y1Y", "PT1D", "P1H", "p1d", "P0.5M", "P1e3D", "P٣D", "PT99999999999999999999S", "daily", "P101Y"},
		"CONNECTOR_RUN_AND_TERMINATE":               {"maybe"},
		"CONNECTOR_REIMPORT":                        {"once"},
		"CONNECTOR_VERIFY_AFTER":                    {"7", "-P1D", "7 days", "P101Y"},
		"THREATMATCH_OVERLAP":                       {"10", "-PT1M", "10m", "P101Y"},
		"CONNECTOR_SEND_TO_QUEUE":                   {"perhaps", "amqp"},
		"CONNECTOR_QUEUE_PROTOCOL":                  {"pigeon", "true", "http"},
		"QUEUE_PROTOCOL":                            {"pigeon"},
		"CONNECTOR_VALIDATE_BEFORE_IMPORT":          {"perhaps", "draft"},
		"CONNECTOR_VALIDATION_MODE":                 {"true", "drafts"},
		"CONNECTOR_QUEUE_THRESHOLD":                 {"0", "-1", "NaN", "Inf", "500MB", "1e999"},
		"CONNECTOR_MEMORY":                          {"0", "-5", "64MiB", "1.5", "99999999999"},
		"CONNECTOR_MAX_MESSAGE_BYTES":               {"0", "-5", "15MiB", "1.5", "999999999999"},
		"CONNECTOR_RELATIONS":                       {"true", "as is"},
		"CONNECTOR_STATUS_ADDRESS":                  {"9096", "localhost", "127.0.0.1:0", "127.0.0.1:http", "http://127.0.0.1:9096", "[::1"},
		"CONNECTOR_EXPOSE_METRICS":                  {"yess"},
		"CONNECTOR_METRICS_PORT":                    {"0", "65536", "http"},
		"CONNECTOR_METRICS_NAMESPACE":               {"9to5", "a-b", "a b", "é"},
		"CONNECTOR_METRICS_SUBSYSTEM":               {"a.b"},
		"THREATMATCH_CLIENT_ID":                     {"ChangeMe"},
		"THREATMATCH_CLIENT_SECRET":                 {"ChangeMe"},
		"THREATMATCH_URL":                           {"eu.threatmatch.com", "//eu.threatmatch.com"},
		"THREATMATCH_IMPORT_FROM_DATE":              {"P0D", "PT0S", "P", "yesterday", "2024-02-30", "2999-01-01", "2999-01-01T00:00:00Z", "1969-12-31", "05/03/2024", "2024-03-05  06:07:08", "2024-03-05 06:07 CET", "P99999999Y"},
		"THREATMATCH_IMPORT_PROFILES":               {"nope"},
		"THREATMATCH_IMPORT_ALERTS":                 {"nope"},
		"THREATMATCH_IMPORT_IOCS":                   {"nope"},
		"THREATMATCH_IMPORT_REPORTS":                {"nope"},
		"THREATMATCH_TLP_LEVEL":                     {"purple", "TLP:", "amber strict"},
		"THREATMATCH_THREAT_ACTOR_AS_INTRUSION_SET": {"nope"},
		"THREATMATCH_DESCRIPTION_FORMAT":            {"md", "pdf"},
		"THREATMATCH_LABELS":                        {"yes", "none"},
		"THREATMATCH_MAX_TLP":                       {"purple", "TLP:", "amber,red"},
		"THREATMATCH_TYPES":                         {",", "indicators", "indicator;malware", "marking-definition"},
		"THREATMATCH_EXCLUDE_TYPES":                 {",", "*", "all"},
		"THREATMATCH_MIN_CONFIDENCE":                {"-1", "101", "0.5", "high"},
		"THREATMATCH_MIN_SCORE":                     {"-1", "101", "50%"},
		"THREATMATCH_TAGS":                          {",", ";", ", ,"},
		"THREATMATCH_EXCLUDE_TAGS":                  {",", "a\nb"},
		"THREATMATCH_CREATE_OBSERVABLES":            {"some"},
		"THREATMATCH_SCORE":                         {"-1", "101", "50.5"},
		"THREATMATCH_RATE_LIMIT":                    {"-1", "fast", "NaN"},
		"THREATMATCH_CONCURRENCY":                   {"0", "-1", "2.5", "1000000"},
		"THREATMATCH_INTERVAL":                      {"-1", "1.5", "daily", "P1D", "99999999"},
		"MQ_HOST":                                   {"a\nb", "rabbit:0", "rabbit:amqp", "rabbit:", ":5672", "amqp://rabbit", "rabbit/", "user@rabbit", "[rabbit]", "[rabbit]:5672", "[127.0.0.1]", "[127.0.0.1]:5672", "::1]", "[::1", "two words", "a,", "a,,b", "a;b", "a,b:99999", "a:1:2"},
		"CONNECTOR_SEND_TO_DIRECTORY":               {"maybe"},
		"CONNECTOR_SEND_TO_DIRECTORY_PATH":          {"a\nb"},
		"CONNECTOR_SEND_TO_DIRECTORY_RETENTION":     {"-1", "P7D", "1.5", "99999"},
		"CONNECTOR_SEND_TO_S3":                      {"maybe"},
		"CONNECTOR_SEND_TO_S3_BUCKET":               {"a\nb"},
		"CONNECTOR_SEND_TO_S3_FOLDER":               {"a\nb", "..", "a/../b", "a//b", "./a"},
		"CONNECTOR_SEND_TO_S3_RETENTION":            {"-1", "P7D", "1.5"},
		"S3_ENDPOINT":                               {"a\nb", "minio:9000", "https://s3.amazonaws.com", "s3/"},
		"S3_PORT":                                   {"0", "70000", "https"},
		"S3_USE_SSL":                                {"maybe"},
		"S3_BUCKET_REGION":                          {"a\nb"},
		"S3_ACCESS_KEY":                             {"a\nb"},
		"S3_SECRET_KEY":                             {"a\nb"},
		"S3_USE_AWS_ROLE":                           {"maybe"},
		"MQ_PORT":                                   {"0", "70000", "amqp"},
		"MQ_VHOST":                                  {"a\nb"},
		"MQ_USER":                                   {"a\nb"},
		"MQ_PASS":                                   {"a\nb"},
		"MQ_USE_SSL":                                {"maybe"},
		"MQ_USE_SSL_CA":                             {"/no/such/file", "-----BEGIN CERTIFICATE-----\nrubbish"},
		"MQ_USE_SSL_CERT":                           {"/no/such/file"},
		"MQ_USE_SSL_KEY":                            {"/no/such/file", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
		"MQ_USE_SSL_PASSPHRASE":                     {"a\nb"},
		"MQ_USE_SSL_REJECT_UNAUTHORIZED":            {"maybe"},
		"HTTP_PROXY":                                {"gopher://x", "http://"},
		"HTTPS_PROXY":                               {"gopher://x", "http://user:" + configtest.ClientSecret + "@:99999"},
		"NO_PROXY":                                  {"a\nb"},
		"HTTPS_CA_CERTIFICATES":                     {"/no/such/file", "/"},
	}
}

func TestEveryBadValueIsRefusedAndNamed(t *testing.T) {
	bad := badValues()
	bad["CONNECTOR_STATE_DIR"] = []string{writeFile(t, "a file, no folder")}
	bad["CONNECTOR_NAME"] = []string{"a\nb"}
	for _, s := range allSettings(time.Now()) {
		values, ok := bad[s.env]
		if !ok {
			t.Errorf("%s has no bad value in this test", s.env)
		}
		for _, value := range values {
			for _, name := range s.spellings() {
				if len(s.spellings()) > 1 && name != s.env && value == "" {
					continue
				}
				_, _, err := Load("", false, configtest.Environ(map[string]string{name: value}))
				var wrong *Error
				if !errors.As(err, &wrong) {
					t.Errorf("%s=%q was accepted", name, value)
					continue
				}
				text := err.Error()
				if len(wrong.Problems) != 1 || !strings.Contains(text, name+" is ") && !strings.Contains(text, name+": ") {
					t.Errorf("%s=%q: %v", name, value, err)
				}
				switch quoted := quotedValue(remote.NewRedactor(), value); {
				case s.secret && !strings.EqualFold(value, samplePlaceholder) && strings.Contains(text, quoted):
					t.Errorf("%s shows its secret: %v", name, err)
				case !s.secret && !strings.Contains(text, quoted):
					t.Errorf("%s=%q is not shown: %v", name, value, err)
				}
			}
		}
	}
}

func TestOneErrorNamesEverythingThatIsWrong(t *testing.T) {
	path := writeFile(t, "connector:\n  log_level: loud\n  nmae: x\nthreatmatch:\n  client_secret: ChangeMe\n")
	_, _, err := Load(path, true, []string{"OPENCTI_URL=here", "THREATMATCH_RATE_LIMIT=-1", "CONNECTOR_TYPE=STREAM", "OPENCTI_TOKEN="})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`OPENCTI_URL is "here": must be a URL that begins with http`,
		`OPENCTI_TOKEN: is required and not set; set the variable, or opencti.token in config.yml`,
		`CONNECTOR_ID: is required`,
		`CONNECTOR_TYPE is "STREAM": must be EXTERNAL_IMPORT`,
		`CONNECTOR_LOG_LEVEL (config.yml line 2, connector.log_level) is "loud": must be one of debug, info, warn, error`,
		`config.yml line 3: unknown key "connector.nmae"; the closest known is "connector.name"`,
		`THREATMATCH_CLIENT_ID: is required`,
		`THREATMATCH_CLIENT_SECRET (config.yml line 5, threatmatch.client_secret) is "ChangeMe"`,
		`THREATMATCH_RATE_LIMIT is "-1": must be a number that is not negative`,
		"9 problems",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func TestSecretsNeverShow(t *testing.T) {
	cfg := load(t, map[string]string{
		"MQ_PASS": configtest.ClientSecret + "-mq", "HTTPS_PROXY": "http://me:" + configtest.ClientSecret + "@proxy:1", "OPENCTI_CUSTOM_HEADERS": "X-Key: " + configtest.ClientSecret})
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.DebugLevel)
	zap.New(core).Info("config", zap.Any("config", cfg), zap.Stringer("text", cfg))
	dumps := []string{cfg.String(), fmt.Sprintf("%v %+v %#v %s %x %q", cfg, cfg, cfg, cfg, cfg.OpenCTI.Token, cfg.MQ.Pass), string(asJSON)}
	for _, entry := range logged.All() {
		dumps = append(dumps, fmt.Sprint(entry.ContextMap()))
	}
	for _, dump := range dumps {
		if strings.Contains(dump, "nobody-may-see") || strings.Contains(dump, fmt.Sprintf("%x", configtest.Token)) {
			t.Errorf("a secret shows in %s", dump)
		}
	}
	if !strings.Contains(cfg.String(), "http://opencti:8080") {
		t.Errorf("the harmless part does not show: %s", cfg)
	}
	path := writeFile(t, "opencti:\n  token: "+configtest.Token+"\n bad: [\n")
	for _, text := range []string{"opencti:\n  token: '" + configtest.Token + "\n", "opencti:\n  token: " + configtest.Token + "\n bad: [\n", "opencti: {token: " + configtest.Token + ", token: " + configtest.Token + "}", "opencti:\n  token:\n    " + configtest.Token + ": 1\n", "opencti:\n  token: " + configtest.Token + ": 1\n", configtest.Token, "opencti: " + configtest.Token, "- " + configtest.Token} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := Load(path, true, configtest.Environ(nil))
		if err == nil {
			t.Errorf("accepted: %s", text)
		} else if strings.Contains(err.Error(), configtest.Token) {
			t.Errorf("%q gives %v", text, err)
		}
	}
}

func TestTwoSpellingsThatDifferAreRefused(t *testing.T) {
	both := map[string]string{"THREATMATCH_THREAT_ACTOR_AS_INTRUSION_SET": "true", "THREATMATCH_THREAT_ACTOR_AS_INSTRUSION_SET": "false"}
	_, _, err := Load("", false, configtest.Environ(both))
	if err == nil || !strings.Contains(err.Error(), "two spellings") {
		t.Errorf("got %v", err)
	}
	both["THREATMATCH_THREAT_ACTOR_AS_INSTRUSION_SET"] = "TRUE"
	load(t, both)
}

func TestCertificatesAreTakenAsTextOrFromAFile(t *testing.T) {
	cert, key := configtest.Authority(t)
	cert = strings.TrimSpace(cert)
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := load(t, map[string]string{
		"OPENCTI_SSL_VERIFY": path, "HTTPS_CA_CERTIFICATES": strings.ReplaceAll(cert, "\n", `\n`),
		"MQ_USE_SSL_CA": cert, "MQ_USE_SSL_CERT": path, "MQ_USE_SSL_KEY": key,
	})
	if cfg.OpenCTI.TLS.CA != (PEM{Text: Secret(cert), File: path}) || !cfg.OpenCTI.TLS.Verify || cfg.Network.CA != (PEM{Text: Secret(cert)}) {
		t.Error("a certificate was read wrongly")
	}
	if pair, err := cfg.MQ.ClientCertificate(); err != nil || len(pair.Certificate) != 1 {
		t.Errorf("client certificate: %v", err)
	}
	for _, changes := range []map[string]string{
		{"MQ_USE_SSL_CERT": cert},
		{"MQ_USE_SSL_KEY": key},
	} {
		if _, _, err := Load("", false, configtest.Environ(changes)); err == nil || !strings.Contains(err.Error(), "MQ_USE_SSL_CERT and MQ_USE_SSL_KEY") {
			t.Errorf("got %v", err)
		}
	}
	_, otherKey := configtest.Authority(t)
	_, _, err := Load("", false, configtest.Environ(map[string]string{"MQ_USE_SSL_CERT": cert, "MQ_USE_SSL_KEY": otherKey}))
	if err == nil || !strings.Contains(err.Error(), "its own key") {
		t.Errorf("a foreign key was accepted: %v", err)
	}
}

func TestAFileThatIsNoCertificateOrKeyIsToldOf(t *testing.T) {
	missing, other := filepath.Join(t.TempDir(), "nope.pem"), writeFile(t, "no PEM")
	for _, name := range []string{"OPENCTI_SSL_VERIFY", "HTTPS_CA_CERTIFICATES", "MQ_USE_SSL_CA", "MQ_USE_SSL_CERT", "MQ_USE_SSL_KEY"} {
		for path, want := range map[string]string{
			missing: "; as a path it cannot be read: no such file or directory", t.TempDir(): "; as a path it cannot be read: is a directory",
			other: "; that file holds nothing of the kind",
		} {
			_, _, err := Load("", false, configtest.Environ(map[string]string{name: path}))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s=%s: %v", name, path, err)
			}
		}
	}
}
