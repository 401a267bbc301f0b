package deploy

import (
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

func TestTheSameSourceReleasesTheSameBytesWhereverItLies(t *testing.T) {
	first, second := sourceCopy(t), sourceCopy(t)
	makeTarget(t, first, "release")
	makeTarget(t, second, "release")
	sums := read(t, filepath.Join(first, "dist/SHA256SUMS"))
	if other := read(t, filepath.Join(second, "dist/SHA256SUMS")); sums != other {
		t.Errorf("built in %s:\n%sbuilt in %s:\n%s", first, sums, second, other)
	}
	dist := filepath.Join(first, "dist")
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = dist
	output(t, check)

	var listed []string
	for line := range strings.Lines(sums) {
		listed = append(listed, strings.Fields(line)[1])
	}
	if want := []string{
		"connector-threatmatch-linux-amd64", "connector-threatmatch-linux-arm64",
		"connector-threatmatch-linux-amd64.cdx.json", "connector-threatmatch-linux-arm64.cdx.json",
		"connector-threatmatch-linux-amd64.licenses.txt", "connector-threatmatch-linux-arm64.licenses.txt",
	}; !slices.Equal(listed, want) {
		t.Errorf("SHA256SUMS lists %q, want %q", listed, want)
	}
	for arch, machine := range machines {
		path := filepath.Join(dist, "connector-threatmatch-linux-"+arch)
		isStatic(t, path, machine)
		isSmall(t, path)
		knowsTimeZones(t, path)
		listsItsModules(t, path, path+".cdx.json")
		holdsItsLicences(t, path, path+".licenses.txt")
	}
}

func isStatic(t *testing.T, path string, machine elf.Machine) {
	t.Helper()
	program, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if program.Machine != machine {
		t.Errorf("%s is for %v, want %v", path, program.Machine, machine)
	}
	if slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Errorf("%s wants a dynamic linker", path)
	}
}

// knowsTimeZones reports a program that needs files of time zones, which the image does not have.
func knowsTimeZones(t *testing.T, path string) {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-tags" && strings.Contains(s.Value, "timetzdata") }) {
		t.Errorf("%s holds no time zones: %v", path, info.Settings)
	}
}

// listsItsModules holds a bill of materials to what the program itself says.
func listsItsModules(t *testing.T, program, billPath string) {
	t.Helper()
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"pkg:golang/stdlib@" + strings.TrimPrefix(info.GoVersion, "go")}
	for _, m := range info.Deps {
		want = append(want, "pkg:golang/"+m.Path+"@"+m.Version)
	}
	var bill struct {
		BOMFormat, SpecVersion string
		Metadata               struct {
			Component struct {
				Version string
				Hashes  []struct{ Alg, Content string }
			}
		}
		Components   []struct{ PURL string }
		Dependencies []struct{ DependsOn []string }
	}
	if err := json.Unmarshal([]byte(read(t, billPath)), &bill); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range bill.Components {
		got = append(got, c.PURL)
	}
	if len(want) < 20 || !slices.Equal(got, want) {
		t.Errorf("%s lists %q, the program %q", billPath, got, want)
	}
	if len(bill.Dependencies) != 1 || !slices.Equal(bill.Dependencies[0].DependsOn, want) {
		t.Errorf("%s: the program depends on %v", billPath, bill.Dependencies)
	}
	bytes, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(bytes)
	main := bill.Metadata.Component
	if bill.BOMFormat != "CycloneDX" || bill.SpecVersion != "1.6" || main.Version != testVersion ||
		len(main.Hashes) != 1 || main.Hashes[0].Alg != "SHA-256" || main.Hashes[0].Content != hex.EncodeToString(sum[:]) {
		t.Errorf("%s is not that of this program: %+v", billPath, bill)
	}
}

// holdsItsLicences wants a text for each module that the program names, and for Go itself.
func holdsItsLicences(t *testing.T, program, textPath string) {
	t.Helper()
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, begun := strings.Cut("\n"+read(t, textPath), "\n==== ")
	held := map[string]string{}
	for _, section := range strings.Split(rest, "\n==== ") {
		name, text, _ := strings.Cut(section, ": ")
		held[name] += text
	}
	wanted := []string{"Go's standard library " + info.GoVersion}
	for _, m := range info.Deps {
		wanted = append(wanted, m.Path+" "+m.Version)
	}
	for _, name := range wanted {
		if len(held[name]) < 500 {
			t.Errorf("%s holds no licence of %s: %q", textPath, name, held[name])
		}
	}
	if !begun || len(wanted) < 20 || !strings.Contains(held[wanted[0]], "The Go Authors") {
		t.Errorf("%s is no text of licences: %.200q", textPath, rest)
	}
}

// machines are the processors that programs are released for.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
