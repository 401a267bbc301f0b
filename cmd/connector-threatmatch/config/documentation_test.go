package config

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

var update = flag.Bool("update", false, "write the generated files anew")

const catalogue = "../../../deploy/catalogue/threatmatch"

// generatedFiles are the files that the table of settings makes.
func generatedFiles() map[string]string {
	return map[string]string{
		catalogue + "/__metadata__/connector_config_schema.json": string(Schema()),
		catalogue + "/__metadata__/CONNECTOR_CONFIG_DOC.md":      CatalogueTable(),
		catalogue + "/docker-compose.yml":                        CatalogueCompose(),
		catalogue + "/config.yml.sample":                         CatalogueYAML(),
		catalogue + "/.env.sample":                               CatalogueEnv(),
		"../../../deploy/config.sample.yml":                      SampleYAML(),
	}
}

func TestTheGeneratedFilesAreUpToDate(t *testing.T) {
	for path, want := range generatedFiles() {
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is out of date (%v): go test ./cmd/connector-threatmatch/config -update", path, err)
		}
	}
}

func TestAnOperatorsComposeFilePullsNoOtherProgram(t *testing.T) {
	text := SampleCompose()
	for _, want := range []string{"    image: connector-threatmatch-go:latest\n", "    pull_policy: never\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "opencti/connector-threatmatch") {
		t.Errorf("the catalogue's image is named in\n%s", text)
	}
}

func TestAnOperatorsSamplesHoldEverySetting(t *testing.T) {
	env, compose, file := SampleEnv(), SampleCompose(), SampleYAML()
	for _, s := range allSettings(time.Now()) {
		_, key, inFile := strings.Cut(s.path, keyDelimiter)
		if s.successor != "" {
			if strings.Contains(env+compose+file, key) || strings.Contains(env+compose, s.env) {
				t.Errorf("a sample holds %s, which is deprecated", s.env)
			}
			continue
		}
		if name := s.fileVariable(); name != "" && (!strings.Contains(env, "\n#"+name+"=/run/") || !strings.Contains(compose, " # - "+name+"=/run/")) {
			t.Errorf("%s is missing in a sample", name)
		}
		if !strings.Contains(env, s.env+"=") || !strings.Contains(compose, " "+s.env+"=") || inFile && !strings.Contains(file, " "+key+": ") {
			t.Errorf("%s is missing in a sample", s.env)
		}
	}
}

func TestTheReadmeHoldsTheSettings(t *testing.T) {
	const path, begin, end = "../../../README.md", "<!-- settings: begin -->\n", "<!-- settings: end -->"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), begin)
	_, tail, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no markers for the settings", path)
	}
	want := head + begin + "\n" + Table() + "\n" + end + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s is out of date: go test ./cmd/connector-threatmatch/config -update", path)
	}
}

type schemaDocument struct {
	Properties map[string]struct {
		Description, Type, Format string
		Default                   any
		Enum                      []string
		WriteOnly, Deprecated     bool
	}
	Required []string
}

func schema(t *testing.T) schemaDocument {
	t.Helper()
	var doc schemaDocument
	if err := json.Unmarshal(Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestTheSchemaIsWhatIsParsed gives each variable of the schema a value that must be refused, and looks for each
// variable that is read in the schema.
func TestTheSchemaIsWhatIsParsed(t *testing.T) {
	doc, bad := schema(t), badValues()
	bad["CONNECTOR_STATE_DIR"] = []string{writeFile(t, "a file, no folder")}
	bad["CONNECTOR_NAME"] = []string{"a\nb"}
	for _, s := range allSettings(time.Now()) {
		if name := s.fileVariable(); name != "" {
			bad[name] = []string{"/no/such/file"}
			if p, ok := doc.Properties[name]; !ok || p.WriteOnly || p.Type != "string" {
				t.Errorf("%s is not in the schema as a path: %+v", name, p)
			}
		}
	}
	bad["THREATMATCH_THREAT_ACTOR_AS_INSTRUSION_SET"] = bad["THREATMATCH_THREAT_ACTOR_AS_INTRUSION_SET"]
	for name := range doc.Properties {
		if len(bad[name]) == 0 {
			t.Errorf("%s of the schema has no bad value to try", name)
			continue
		}
		if _, _, err := Load("", false, configtest.Environ(map[string]string{name: bad[name][0]})); err == nil {
			t.Errorf("%s of the schema is not read", name)
		}
	}
	for _, s := range allSettings(time.Now()) {
		for _, name := range slices.Concat([]string{s.env}, s.old) {
			p, ok := doc.Properties[name]
			if !ok {
				t.Errorf("%s is read but not in the schema", name)
			}
			if s.secret != p.WriteOnly || s.secret != (p.Format == "password") {
				t.Errorf("%s: the schema does not mark its secret", name)
			}
			if p.Description == "" || p.Type == "" || p.Deprecated != (name != s.env || s.successor != "") {
				t.Errorf("%s is not described: %+v", name, p)
			}
		}
		if s.def != "" && s.required {
			t.Errorf("%s is required and has a default", s.env)
		}
		var c Config
		if s.def != "" && !s.value.read(&c, s.def) {
			t.Errorf("%s refuses its own default %q", s.env, s.def)
		}
		for _, v := range s.value.schema().Enum {
			if !s.value.read(&c, v) {
				t.Errorf("%s refuses %q of its own list", s.env, v)
			}
		}
	}
	want := []string{"OPENCTI_URL", "OPENCTI_TOKEN", "THREATMATCH_CLIENT_ID", "THREATMATCH_CLIENT_SECRET"}
	if !slices.Equal(doc.Required, want) {
		t.Errorf("required: %q", doc.Required)
	}
}

// TestTheSampleBecomesAConfiguration replaces the placeholders and comments in everything else.
func TestTheSampleBecomesAConfiguration(t *testing.T) {
	filled := strings.NewReplacer("id: ChangeMe", "id: "+configtest.ConnectorID, "ChangeMe", "something").Replace(SampleYAML())
	filled = strings.ReplaceAll(filled, "client_id: "+configtest.ConnectorID, "client_id: mine")
	if _, warnings, err := Load(writeFile(t, filled), true, nil); err != nil || len(warnings) > 0 {
		t.Errorf("%v %q", err, warnings)
	}
	for _, s := range allSettings(time.Now()) {
		_, key, inFile := strings.Cut(s.path, keyDelimiter)
		if !inFile || s.def == "" {
			continue
		}
		line := key + ": " + yamlScalar(s.def) + "\n"
		if !strings.Contains(filled, "\n  # "+line) {
			t.Errorf("%s does not stand commented out", s.path)
		}
		filled = strings.Replace(filled, "\n  # "+line, "\n  "+line, 1)
	}
	cfg, warnings, err := Load(writeFile(t, filled), true, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v %q", err, warnings)
	}
	if want := load(t, nil); cfg.Connector.Period != want.Connector.Period || cfg.ThreatMatch.ImportFrom != want.ThreatMatch.ImportFrom || cfg.MQ.UseSSL != nil {
		t.Errorf("the sample is not the defaults: %s", cfg)
	}
}
