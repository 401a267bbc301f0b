package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// largest is what a program may have, in bytes: it is loaded onto machines of all kinds, and grows by itself.
const largest = 20_000_000

func isSmall(t *testing.T, path string) {
	t.Helper()
	program, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if program.Size() >= largest {
		t.Errorf("%s has %d bytes, and may have less than %d: see what has come in with `go tool nm -size -sort size`", path, program.Size(), largest)
	}
}

// Who calls a method by a name that the linker does not know, as text/template does, has it keep every exported method of every type,
// which makes the program larger by a fifth.
func TestTheLinkerKnowsWhichMethodsAreCalled(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "timetzdata", "-ldflags", "-dumpdep", "-o", filepath.Join(t.TempDir(), "program"), "./cmd/connector-threatmatch")
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	told, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %.2000s", err, told)
	}
	begun, found := false, map[string]bool{}
	for line := range strings.Lines(string(told)) {
		from, _, _ := strings.Cut(line, " -> ")
		begun = begun || from == "main.main"
		if caller, flags, _ := strings.Cut(from, " "); strings.Contains(flags, "<ReflectMethod>") && !found[caller] {
			found[caller] = true
			t.Errorf("%s calls methods by names that are not known when linking", caller)
		}
	}
	if !begun {
		t.Errorf("the linker did not tell what refers to what: %.2000s", told)
	}
}
