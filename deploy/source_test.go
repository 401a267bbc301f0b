package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sourceCopy is the source in a folder of its own, without history and without what was built.
func sourceCopy(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "source")
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		from := filepath.Join("..", e.Name())
		switch name := e.Name(); {
		case name == ".git" || name == "bin" || name == "dist":
		case e.IsDir():
			if err := os.CopyFS(filepath.Join(to, name), os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
		case e.Type().IsRegular():
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(to, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// output is what a command prints; it fails the test where the command fails.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, stderr.String())
	}
	return string(out)
}

// makeTarget builds a target in a folder, with a version and a commit of the test's own.
func makeTarget(t *testing.T, folder string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", append(args, "VERSION="+testVersion, "COMMIT="+testCommit)...)
	cmd.Dir = folder
	output(t, cmd)
}

const (
	testVersion = "v1.2.3-test"
	testCommit  = "0123456789abcdef0123456789abcdef01234567"
)
