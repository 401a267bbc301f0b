package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

// show returns the settings by name.
func show(t *testing.T, path string, environ []string) (map[string]Effective, error) {
	t.Helper()
	list, _, err := Show(path, path != "", environ)
	byName := map[string]Effective{}
	for _, e := range list {
		byName[e.Name] = e
	}
	if len(byName) != len(allSettings(time.Now())) {
		t.Fatalf("%d settings", len(byName))
	}
	return byName, err
}

func TestEachValueIsShownWithItsSource(t *testing.T) {
	path := writeFile(t, "connector:\n  name: ' From the file '\nthreatmatch:\n  threat_actor_as_instrusion_set: false\n")
	got, err := show(t, path, configtest.Environ(map[string]string{"CONNECTOR_NAME": "hidden", "no_proxy": "localhost", "CONNECTOR_METRICS_PORT": " 9096 "}))
	if err != nil {
		t.Error(err)
	}
	for name, want := range map[string]Effective{
		"CONNECTOR_NAME":         {Value: "From the file", Source: Source{Kind: FromFile, File: "config.yml", Line: 2, Key: "connector.name"}},
		"CONNECTOR_METRICS_PORT": {Value: "9096", Source: Source{Kind: FromEnvironment, Variable: "CONNECTOR_METRICS_PORT"}},
		"NO_PROXY":               {Value: "localhost", Source: Source{Kind: FromEnvironment, Variable: "no_proxy"}},
		"CONNECTOR_LOG_LEVEL":    {Value: "error", Source: Source{Kind: FromDefault}},
		"MQ_HOST":                {Source: Source{Kind: FromNowhere}},
		"OPENCTI_TOKEN":          {Value: "***", Source: Source{Kind: FromEnvironment, Variable: "OPENCTI_TOKEN"}},
		"MQ_PASS":                {Source: Source{Kind: FromNowhere}},
		"THREATMATCH_THREAT_ACTOR_AS_INTRUSION_SET": {Value: "false", Source: Source{Kind: FromFile, File: "config.yml", Line: 4, Key: "threatmatch.threat_actor_as_instrusion_set"}},
	} {
		if e := got[name]; e.Value != want.Value || e.Source != want.Source || e.About == "" || e.Allowed == "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestNoSecretIsShownWhereverItStands(t *testing.T) {
	const secret = configtest.ClientSecret
	_, key := configtest.Authority(t)
	cert, _ := configtest.Authority(t)
	for name, tt := range map[string]struct {
		changes map[string]string
		want    map[string]string
	}{
		"in a proxy":                      {map[string]string{"HTTPS_PROXY": "http://me:" + secret + "@proxy:3128", "http_proxy": "me:" + secret + "@proxy:3128"}, map[string]string{"HTTPS_PROXY": "http://***@proxy:3128", "HTTP_PROXY": "http://***@proxy:3128"}},
		"in RabbitMQ's proxy":             {map[string]string{"MQ_PROXY": "socks5://me:" + secret + "@proxy:1"}, map[string]string{"MQ_PROXY": "socks5://***@proxy:1"}},
		"in a proxy's path":               {map[string]string{"HTTPS_PROXY": "socks5://proxy:1/" + secret + "?" + secret}, map[string]string{"HTTPS_PROXY": "socks5://proxy:1"}},
		"in a proxy that is none":         {map[string]string{"HTTPS_PROXY": "http://me:" + secret + "@:99999"}, map[string]string{"HTTPS_PROXY": "***"}},
		"in headers":                      {map[string]string{"OPENCTI_CUSTOM_HEADERS": "X-Key: " + secret + ";Cookie: session:" + secret}, map[string]string{"OPENCTI_CUSTOM_HEADERS": "Cookie: ***;X-Key: ***"}},
		"in headers that are none":        {map[string]string{"OPENCTI_CUSTOM_HEADERS": secret}, map[string]string{"OPENCTI_CUSTOM_HEADERS": "***"}},
		"in an address":                   {map[string]string{"OPENCTI_URL": "https://me:" + secret + "@opencti"}, map[string]string{"OPENCTI_URL": "https://***@opencti"}},
		"in another setting":              {map[string]string{"CONNECTOR_NAME": "mine " + secret, "MQ_HOST": configtest.Token}, map[string]string{"CONNECTOR_NAME": "mine ***", "MQ_HOST": "***"}},
		"in one that cannot be used":      {map[string]string{"MQ_PASS": "nobody-may-see\nit", "MQ_USER": "nobody-may-see\nit"}, map[string]string{"MQ_PASS": "***", "MQ_USER": "***"}},
		"as a key":                        {map[string]string{"MQ_USE_SSL_KEY": key}, map[string]string{"MQ_USE_SSL_KEY": "***"}},
		"as a key beside its certificate": {map[string]string{"MQ_USE_SSL_CA": cert + key}, map[string]string{"MQ_USE_SSL_CA": "PEM"}},
	} {
		got, err := show(t, "", configtest.Environ(tt.changes))
		for setting, want := range tt.want {
			if got[setting].Value != want {
				t.Errorf("%s: %s is %q, want %q", name, setting, got[setting].Value, want)
			}
		}
		text, _ := json.Marshal(got)
		if err != nil {
			text = append(text, err.Error()...)
		}
		if strings.Contains(string(text), "nobody-may-see") || strings.Contains(string(text), strings.Split(key, "\n")[1]) {
			t.Errorf("%s a secret shows: %s", name, text)
		}
	}
}

func TestWhatIsWrongIsShownBesideItsError(t *testing.T) {
	got, err := show(t, "", []string{"CONNECTOR_LOG_LEVEL=loud"})
	if err == nil || !strings.Contains(err.Error(), "CONNECTOR_LOG_LEVEL") || got["CONNECTOR_LOG_LEVEL"].Value != "loud" {
		t.Errorf("%+v, %v", got["CONNECTOR_LOG_LEVEL"], err)
	}
	list, _, err := Show("/no/such/config.yml", true, nil)
	if err == nil || len(list) > 0 {
		t.Errorf("a missing file: %v, %d settings", err, len(list))
	}
}

func TestAFolderThatCannotBeWrittenToIsAWarningWithItsRemedy(t *testing.T) {
	file := writeFile(t, "no folder")
	cases := map[string]string{
		t.TempDir(): "",
		filepath.Join(t.TempDir(), "to be made", "in it"): "",
		filepath.Join(file, "state"):                      file + " is no folder",
		file:                                              file + " is no folder",
	}
	if runtime.GOOS == "linux" {
		for _, at := range []string{"/proc", "/sys"} {
			cases[at+"/state/in/it"] = at + " shows the system's own affairs"
		}
	}
	for dir, want := range cases {
		var cfg Config
		cfg.Connector.StateDir = dir
		got := StateDirWarnings(cfg)
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(string(got[0]), want) || !strings.Contains(string(got[0]), "give it a folder")) {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
	if os.Getuid() == 0 {
		return // root may write anywhere
	}
	dir := filepath.Join(t.TempDir(), "not mine")
	if err := os.Mkdir(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, filepath.Join(dir, "below")} {
		var cfg Config
		cfg.Connector.StateDir = dir
		if got := StateDirWarnings(cfg); len(got) != 1 || !strings.Contains(string(got[0]), "permission denied") {
			t.Errorf("%s: %q", dir, got)
		}
	}
}

// TestTheSchemaOfTheFileTakesItsKeysAndDefaults is about a file that has all of them, as the sample has.
func TestTheSchemaOfTheFileTakesItsKeysAndDefaults(t *testing.T) {
	var schema struct {
		Properties map[string]struct {
			Properties map[string]struct {
				Type       any
				Enum       []string
				Deprecated bool
			}
			AdditionalProperties bool
		}
		AdditionalProperties bool
	}
	if err := json.Unmarshal(FileSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	for path, key := range pathsOf(allSettings(time.Now())) {
		section, name, _ := strings.Cut(path, keyDelimiter)
		p, ok := schema.Properties[section].Properties[name]
		if !ok || p.Deprecated != (path != key || path == intervalKey) {
			t.Errorf("%s: %+v", path, p)
		}
	}
	if schema.AdditionalProperties || schema.Properties["mq"].AdditionalProperties {
		t.Error("unknown keys pass")
	}
	for _, s := range allSettings(time.Now()) {
		if s.path == "" || s.def == "" {
			continue
		}
		var value any
		if err := yaml.Unmarshal([]byte(yamlScalar(s.def)), &value); err != nil {
			t.Fatal(err)
		}
		section, name, _ := strings.Cut(s.path, keyDelimiter)
		p := schema.Properties[section].Properties[name]
		types, _ := p.Type.([]any)
		types = append(types, p.Type)
		kind := "string"
		switch value.(type) {
		case bool:
			kind = "boolean"
		case uint64, int64, float64:
			kind = "number"
		}
		if !slices.Contains(types, any(kind)) && !(kind == "number" && slices.Contains(types, any("integer"))) {
			t.Errorf("%s: the default %v is of none of the types %v", s.path, value, types)
		}
		if len(p.Enum) > 0 && !slices.Contains(p.Enum, s.def) {
			t.Errorf("%s: the default %s is none of %v", s.path, s.def, p.Enum)
		}
	}
}
