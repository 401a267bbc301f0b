package config

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEverySecretIsReadFromAFile(t *testing.T) {
	cert, key := configtest.Authority(t)
	values := map[string]string{
		"OPENCTI_TOKEN": configtest.Token, "THREATMATCH_CLIENT_SECRET": configtest.ClientSecret, "MQ_PASS": "nobody-may-see it",
		"OPENCTI_CUSTOM_HEADERS": "X-Key: nobody-may-see", "MQ_USE_SSL_KEY": key, "MQ_USE_SSL_PASSPHRASE": "nobody-may-see",
		"HTTP_PROXY": "http://me:nobody-may-see@proxy:1", "HTTPS_PROXY": "http://me:nobody-may-see@proxy:2", "MQ_PROXY": "http://me:nobody-may-see@proxy:3",
		"S3_ACCESS_KEY": "nobody-may-see", "S3_SECRET_KEY": "nobody-may-see",
	}
	asText, asFiles := map[string]string{"MQ_USE_SSL_CERT": cert}, map[string]string{"MQ_USE_SSL_CERT": cert}
	for _, s := range allSettings(time.Now()) {
		name := s.fileVariable()
		if (name != "") != (values[s.env] != "") {
			t.Fatalf("%s has no value in this test, or no file", s.env)
		}
		if name != "" {
			asText[s.env], asFiles[s.env], asFiles[name] = values[s.env], "", secretFile(t, values[s.env]+"\n")
		}
	}
	want, wantWarnings, err := Load("", false, configtest.Environ(asText))
	if err != nil {
		t.Fatal(err)
	}
	got, warnings, err := Load("", false, configtest.Environ(asFiles))
	if err != nil || !slices.Equal(warnings, wantWarnings) {
		t.Fatalf("%v, %q", err, warnings)
	}
	if got.MQ.Key.File != asFiles["MQ_USE_SSL_KEY_FILE"] {
		t.Errorf("the key is read again from %q", got.MQ.Key.File)
	}
	got.MQ.Key.File = ""
	if !slices.Equal(want.Secrets(), got.Secrets()) || want.String() != got.String() {
		t.Error("a secret of a file is not the one of the environment")
	}
	shown, _ := show(t, "", configtest.Environ(asFiles))
	for name := range values {
		e := shown[name]
		if e.Source != (Source{Kind: FromSecretFile, Variable: name + fileSuffix, File: asFiles[name+fileSuffix]}) || e.Value == "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if text, _ := json.Marshal(shown); strings.Contains(string(text), "nobody-may-see") {
		t.Errorf("a secret shows: %s", text)
	}
}

func TestWhatEditorsAddToASecretIsNoPartOfIt(t *testing.T) {
	for _, text := range []string{"\r\n", "\n\n", " \n", ""} {
		cfg := load(t, map[string]string{"OPENCTI_TOKEN": "", "OPENCTI_TOKEN_FILE": " " + secretFile(t, byteOrderMark+configtest.Token+text) + "\r"})
		if cfg.OpenCTI.Token.Reveal() != configtest.Token {
			t.Errorf("with %q behind it the token is %q", text, cfg.OpenCTI.Token.Reveal())
		}
	}
	if cfg := load(t, map[string]string{"OPENCTI_TOKEN_FILE": " "}); cfg.OpenCTI.Token.Reveal() != configtest.Token {
		t.Error("a blank path counts")
	}
}

func TestAKeyIsReadAgainAsItWasReadAtFirst(t *testing.T) {
	cert, key := configtest.Authority(t)
	for _, text := range []string{key, byteOrderMark + key + " \r\n", strings.ReplaceAll(key, "\n", `\n`)} {
		cfg := load(t, map[string]string{"MQ_USE_SSL_CERT": cert, "MQ_USE_SSL_KEY_FILE": secretFile(t, text)})
		if again, err := cfg.MQ.Key.Again(); err != nil || again != cfg.MQ.Key {
			t.Errorf("of %.40q: %v", text, err)
		}
	}
	path := secretFile(t, key)
	cfg := load(t, map[string]string{"MQ_USE_SSL_CERT": cert, "MQ_USE_SSL_KEY_FILE": secretFile(t, path)})
	if cfg.MQ.Key.File != path {
		t.Errorf("a path in the file of the secret leads to %q", cfg.MQ.Key.File)
	}
}

func TestAFileThatGivesNoSecretIsNamedWithTheRemedy(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for path, want := range map[string]string{
		missing:                        "OPENCTI_TOKEN_FILE (" + missing + "): there is no such file; mount the secret there, or correct the path",
		filepath.Dir(missing):          ": is a folder; give the path of the file in it that holds the secret",
		secretFile(t, ""):              ": is empty; write the secret into the file",
		secretFile(t, " \r\n"):         ": is empty; write the secret into the file",
		secretFile(t, "a\nb"):          ": must be a single line of text",
		secretFile(t, "ChangeMe\n"):    `) is "ChangeMe": the sample's placeholder; replace it`,
		secretFile(t, "\xff\xfea\x00"): ": cannot be read: is UTF-16; save it as UTF-8",
		secretFile(t, strings.Repeat("x", maxConfigBytes+1)): ": cannot be read: larger than",
	} {
		_, _, err := Load("", false, configtest.Environ(map[string]string{"OPENCTI_TOKEN": "", "OPENCTI_TOKEN_FILE": path}))
		var wrong *Error
		if !errors.As(err, &wrong) || len(wrong.Problems) != 1 || !strings.Contains(err.Error(), "OPENCTI_TOKEN_FILE ("+path+")") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %s", path, err, want)
		}
	}
	// Root may read all, and tests are run by root.
	if fault := faultOfFile(missing, &fs.PathError{Op: "open", Path: missing, Err: fs.ErrPermission}, "", ""); !strings.Contains(fault, "read the file") {
		t.Errorf("without the right to read: %s", fault)
	}
}

func TestASecretInPlaceOfItsPathIsNotShown(t *testing.T) {
	environ := configtest.Environ(map[string]string{"OPENCTI_TOKEN": "", "OPENCTI_TOKEN_FILE": configtest.Token, "CONNECTOR_NAME": "of " + configtest.Token})
	list, _, err := Show("", false, environ)
	text, _ := json.Marshal(list)
	if err == nil || !strings.Contains(err.Error(), "OPENCTI_TOKEN_FILE: holds no path of a file") || strings.Contains(string(text)+err.Error(), configtest.Token) {
		t.Errorf("%v, %s", err, text)
	}
}

func TestASecretInTwoPlacesIsAnErrorThatNamesBoth(t *testing.T) {
	path := secretFile(t, configtest.Token)
	for name, value := range map[string]string{"OPENCTI_TOKEN": configtest.Token, "http_proxy": "http://proxy:1", "THREATMATCH_CLIENT_SECRET": configtest.ClientSecret} {
		file := strings.ToUpper(name) + fileSuffix
		_, _, err := Load("", false, configtest.Environ(map[string]string{name: value, file: path}))
		if err == nil || !strings.Contains(err.Error(), name+" and "+file+": both hold the secret; keep one of them") {
			t.Errorf("%s and %s: %v", name, file, err)
		}
	}
}

func TestConfigYmlCountsBeforeTheFileOfASecret(t *testing.T) {
	yml := writeFile(t, "opencti:\n  token: of-config-yml\n")
	cfg, warnings, err := Load(yml, true, configtest.Environ(map[string]string{"OPENCTI_TOKEN": "", "OPENCTI_TOKEN_FILE": "/no/such/file"}))
	want := []Warning{"opencti.token in config.yml (line 2) hides the environment variable OPENCTI_TOKEN_FILE"}
	if err != nil || cfg.OpenCTI.Token.Reveal() != "of-config-yml" || !slices.Equal(warnings, want) {
		t.Errorf("%v, %q", err, warnings)
	}
}

func TestASecretThatIsMissingIsAskedForAsAFileToo(t *testing.T) {
	_, _, err := Load("", false, configtest.Environ(map[string]string{"OPENCTI_TOKEN": ""}))
	if err == nil || !strings.Contains(err.Error(), "or OPENCTI_TOKEN_FILE to the path of a file that holds it") {
		t.Errorf("got %v", err)
	}
}

func TestASecretOfAFileIsHiddenFromWhatOthersSay(t *testing.T) {
	cfg := load(t, map[string]string{"THREATMATCH_CLIENT_SECRET": "", "THREATMATCH_CLIENT_SECRET_FILE": secretFile(t, "of-a-file-nobody-may-see\r\n")})
	if said := remote.NewRedactor(cfg.Secrets()...).Redact("refused: of-a-file-nobody-may-see"); said != "refused: ***" {
		t.Error(said)
	}
}
