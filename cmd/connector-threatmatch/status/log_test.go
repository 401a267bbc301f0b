package status

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

func TestAJSONLineHasTheFieldsOfOpenCTIsConnectors(t *testing.T) {
	var out bytes.Buffer
	cfg := load(t, map[string]string{"CONNECTOR_LOG_LEVEL": "warn"})
	log := NewLogger(cfg, &out)
	log.Info("not shown")
	log.Warn("shown", zap.String("item", "17"))
	log.With(zap.Int("page", 3)).Error("bare")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %q", lines)
	}
	for i, want := range []struct {
		level, message, key string
		value               any
	}{{"warning", "shown", "item", "17"}, {"error", "bare", "page", 3.0}} {
		var got struct {
			Timestamp, Level, Name, Message string
			Attributes                      map[string]any
		}
		d := json.NewDecoder(strings.NewReader(lines[i]))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%s: %v", lines[i], err)
		}
		if got.Level != want.level || got.Message != want.message || got.Name != "ThreatMatch" || got.Timestamp == "" || got.Attributes[want.key] != want.value {
			t.Errorf("got %s", lines[i])
		}
	}
}

func TestEveryJSONLineHasAttributes(t *testing.T) {
	var out bytes.Buffer
	NewLogger(load(t, nil), &out).Error("nothing to add")
	if !strings.Contains(out.String(), `"attributes":{}`) {
		t.Errorf("got %s", out.String())
	}
}

func TestOnATerminalTextLinesHaveColoursAndOthersNever(t *testing.T) {
	for name, tt := range map[string]struct {
		json     string
		terminal bool
		colours  bool
	}{"text on a terminal": {"false", true, true}, "text in a file": {"false", false, false}, "JSON on a terminal": {"true", true, false}} {
		var out bytes.Buffer
		var to io.Writer = &out
		if tt.terminal {
			to = InColour(to)
		}
		NewLogger(load(t, map[string]string{"OPENCTI_JSON_LOGGING": tt.json}), to).Error("it failed")
		if line := out.String(); strings.Contains(line, "\x1b[") != tt.colours || !strings.Contains(line, "it failed") {
			t.Errorf("%s: %q", name, line)
		}
	}
}

func TestTextLinesAreForReaders(t *testing.T) {
	var out bytes.Buffer
	NewLogger(load(t, map[string]string{"OPENCTI_JSON_LOGGING": "false"}), &out).Error("it failed", zap.String("why", "reasons"))
	if line := out.String(); json.Valid([]byte(line)) || !strings.Contains(line, "error\tThreatMatch\tit failed\t") || !strings.Contains(line, "reasons") {
		t.Errorf("got %s", line)
	}
}

func TestAnErrorOfSeveralWithOneCauseSaysItOnce(t *testing.T) {
	cause := errors.New("settle what is under way within 4s: stopped by signal: terminated")
	var out bytes.Buffer
	NewLogger(load(t, nil), &out).Error("stopped", zap.Error(errors.Join(cause, fmt.Errorf("import alerts: %w", cause), fmt.Errorf("import iocs: %w", cause))))
	var got struct{ Attributes struct{ Error string } }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Attributes.Error != "import alerts: "+cause.Error()+"\nimport iocs: the same" {
		t.Errorf("got %s, %v", out.String(), err)
	}
}

func TestASecretInALibrarysErrorStaysOutOfTheLog(t *testing.T) {
	for _, asJSON := range []string{"true", "false"} {
		var out bytes.Buffer
		const quoted = `pass"word\with<odd>bytes`
		log := NewLogger(load(t, map[string]string{
			"MQ_PASS": quoted, "HTTPS_PROXY": "http://me:proxy-password@proxy:1", "OPENCTI_CUSTOM_HEADERS": "X-Key: header-value",
			"OPENCTI_JSON_LOGGING": asJSON}), &out)
		log.Error("failed with "+configtest.Token, zap.Error(errors.New("dial amqp://x:"+quoted+"@y: "+configtest.ClientSecret+" proxy-password header-value"+
			" Proxy-Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("me:proxy-password")))))
		for _, secret := range []string{configtest.Token, configtest.ClientSecret, quoted, "odd", "proxy-password", "bWU6cHJveHkt", "header-value"} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%s shows in %s", secret, out.String())
			}
		}
		if strings.Count(out.String(), remote.Hidden) < 5 {
			t.Errorf("got %s", out.String())
		}
	}
}
