package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

func TestAPreviewTellsWhatThereIsByItsExitStatusToo(t *testing.T) {
	api := threatmatchtest.New(threatmatchtest.Config{Data: threatmatchtest.Generate(threatmatchtest.Shape{Profiles: 5, Indicators: 120})})
	server := httptest.NewServer(api)
	defer server.Close()
	env := map[string]string{
		"THREATMATCH_URL": server.URL, "THREATMATCH_CLIENT_ID": threatmatchtest.DefaultClientID,
		"THREATMATCH_CLIENT_SECRET": threatmatchtest.DefaultClientSecret, "THREATMATCH_RATE_LIMIT": "0",
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   string
		change map[string]string
		status int
		says   string
	}{
		{"--from 2025-01-01", nil, exitOK, "5          5        0"},
		{"--from 2025-01-01 --dataset iocs --json", nil, exitOK, `"in_window": 120`},
		{"--from never", nil, exitUsage, "--from"},
		{"--dataset rumours", nil, exitUsage, "--dataset"},
		{"--output " + full, nil, exitUsage, "is not empty"},
		{"--from 2025-02-01 --to 2025-01-01", nil, exitUsage, "--to"},
		{"", map[string]string{"THREATMATCH_CLIENT_SECRET": "wrong"}, exitRunFailed, "check THREATMATCH_CLIENT_ID and THREATMATCH_CLIENT_SECRET"},
		{"", map[string]string{"THREATMATCH_TLP_LEVEL": "purple"}, exitUsage, "THREATMATCH_TLP_LEVEL"},
		{"--help", nil, exitOK, "share"},
	} {
		changed := map[string]string{}
		for _, more := range []map[string]string{env, tt.change} {
			for name, value := range more {
				changed[name] = value
			}
		}
		status, out, problems := run(t, configtest.Environ(changed), append([]string{"preview"}, strings.Fields(tt.args)...)...)
		if status != tt.status || !strings.Contains(out+problems, tt.says) {
			t.Errorf("preview %s: status %d\n%s%s", tt.args, status, out, problems)
		}
	}
}
