package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const unit = "systemd/connector-threatmatch.service"

func TestTheUnitIsUnderstoodBySystemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("the unit is not verified: systemd-analyze is not installed; make test installs it")
	}
	// The program is not installed where the tests run: another stands in for it.
	text := strings.Replace(read(t, unit), "\nExecStart=/usr/local/bin/connector-threatmatch\n", "\nExecStart=/bin/sh\n", 1)
	path := filepath.Join(t.TempDir(), filepath.Base(unit))
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// 15 is an exposure of 1.5 of 10: what reaches out into networks can hardly have less.
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

func TestTheUnitGivesTheProgramWhatItNeeds(t *testing.T) {
	text := read(t, unit)
	for key, want := range map[string]string{
		"ExecStart": "/usr/local/bin/connector-threatmatch", "EnvironmentFile": "/etc/connector-threatmatch/environment",
		"User": "connector-threatmatch", "StateDirectory": "connector-threatmatch", "StateDirectoryMode": "0700",
		"Restart": "always", "RestartPreventExitStatus": "2", "TimeoutStopSec": "30", "MemoryMax": "256M",
		"ProtectSystem": "strict", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
	} {
		if !strings.Contains(text, "\n"+key+"="+want+"\n") {
			t.Errorf("the unit does not say %s=%s", key, want)
		}
	}
}
