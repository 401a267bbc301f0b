package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestWhatBelongsToTheFileAndNotToTheValueIsToldOf(t *testing.T) {
	const quotes, comment = "stands in quotes, which are part of it: docker run", "holds a #, and what follows is part of it: docker run"
	for _, tt := range []struct{ name, value, want string }{
		{"OPENCTI_URL", `"http://opencti"`, quotes},
		{"THREATMATCH_IMPORT_IOCS", "true # Import iocs", comment},
		{"CONNECTOR_DURATION_PERIOD", "'P1D'", quotes},
		{"MQ_USE_SSL_KEY", `"/no/such/file"`, quotes},
	} {
		_, _, err := Load("", false, configtest.Environ(map[string]string{tt.name: tt.value}))
		if err == nil || !strings.Contains(err.Error(), "; it "+tt.want) {
			t.Errorf("%s=%s: %v, want %s", tt.name, tt.value, err, tt.want)
		}
	}
	for _, tt := range []struct{ name, value, want string }{
		{"THREATMATCH_CLIENT_SECRET", `"` + configtest.ClientSecret + `"`, quotes},
		{"OPENCTI_TOKEN", configtest.Token + " # of the admin", comment},
		{"CONNECTOR_NAME", "'ThreatMatch'", quotes},
		{"THREATMATCH_CLIENT_SECRET", "$TM_SECRET", "reads like a variable, and is taken as it stands"},
		{"THREATMATCH_CLIENT_SECRET", "$ecret", ""},
		{"THREATMATCH_CLIENT_SECRET", `"`, ""},
		{"THREATMATCH_CLIENT_SECRET", `"a'`, ""},
		{"THREATMATCH_CLIENT_SECRET", "a#b", ""},
	} {
		_, warnings, err := Load("", false, configtest.Environ(map[string]string{tt.name: tt.value}))
		if err != nil || tt.want == "" && len(warnings) > 0 || tt.want != "" && (len(warnings) != 1 || !strings.Contains(string(warnings[0]), tt.name+" "+tt.want)) {
			t.Errorf("%s=%s: %q, %v", tt.name, tt.value, warnings, err)
		}
	}
	path := writeFile(t, "connector:\n  name: '\"quoted\"'\n")
	if _, warnings, err := Load(path, true, configtest.Environ(nil)); err != nil || !slices.Equal(warnings, nil) {
		t.Errorf("YAML has quotes of its own: %q, %v", warnings, err)
	}
}

func TestAVariableThatNobodyFilledInIsRefusedAndItsDefaultIsNotShown(t *testing.T) {
	path := writeFile(t, "opencti:\n  token: ${ADMIN_TOKEN:-"+configtest.Token+"}\n")
	for file, environ := range map[string]map[string]string{
		"":   {"OPENCTI_TOKEN": "${ADMIN_TOKEN:-" + configtest.Token + "}"},
		path: nil,
	} {
		_, _, err := Load(file, file != "", configtest.Environ(environ))
		if err == nil || !strings.Contains(err.Error(), ": holds ${ADMIN_TOKEN} as it stands, for nothing has put the value of that variable there; write the value itself") || strings.Contains(err.Error(), configtest.Token) {
			t.Errorf("%q, %q: %v", file, environ, err)
		}
	}
	for _, password := range []string{"$ecret-of-mine", "${", "a${B}", "${not a name}"} {
		load(t, map[string]string{"MQ_PASS": password})
	}
}

func TestFilesOfWindowsAreRead(t *testing.T) {
	text := strings.ReplaceAll("opencti:\n  url: http://file\n  token: "+configtest.Token+"\n\nconnector:\n  name: From the file\n", "\n", "\r\n")
	cfg, warnings, err := Load(writeFile(t, byteOrderMark+text), true, configtest.Environ(map[string]string{"OPENCTI_URL": "", "OPENCTI_TOKEN": "", "THREATMATCH_CLIENT_ID": "mine\r"}))
	if err != nil || len(warnings) > 0 || cfg.OpenCTI.URL != "http://file" || cfg.OpenCTI.Token.Reveal() != configtest.Token || cfg.Connector.Name != "From the file" || cfg.ThreatMatch.ClientID != "mine" {
		t.Errorf("%v, %q, %s", err, warnings, cfg)
	}
	if _, _, err := Load(t.TempDir(), true, configtest.Environ(nil)); err == nil || !strings.Contains(err.Error(), ": is a folder; Docker makes one where the file that it should mount is missing: put the file in its place") {
		t.Errorf("a folder: %v", err)
	}
	for _, text := range []string{"\xff\xfeo\x00p\x00", "opencti:\n  url: caf\xe9\n"} {
		if _, _, err := Load(writeFile(t, text), true, configtest.Environ(nil)); err == nil || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
