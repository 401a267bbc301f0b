package files

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// ls lists a folder.
func ls(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// older makes an empty file with a time of its own.
func older(t *testing.T, dir, name string, at time.Time) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
		t.Fatal(err)
	}
}

func TestAFileIsWhatWasPut(t *testing.T) {
	dir := t.TempDir()
	d, names := NewDirectory(dir, connector, 0), NewNames(connector)
	for _, size := range []int{0, 5 << 20} {
		name, text := names.Next(noon), document(InDirectory, size)
		if err := d.Put(t.Context(), name, text...); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != joined(text) || !json.Valid(got) {
			t.Errorf("of %d bytes %d were written, %v", len(joined(text)), len(got), err)
		}
	}
	if got := ls(t, dir); len(got) != 2 {
		t.Errorf("the folder holds %q", got)
	}
}

// TestFilesSortByTheirTimesToo is for readers that go by these: OpenCTI's diode-import does.
func TestFilesSortByTheirTimesToo(t *testing.T) {
	dir := t.TempDir()
	d, names := NewDirectory(dir, connector, 0), NewNames(connector)
	c := &clock{noon}
	d.files.now = c.now
	var last time.Time
	for range 20 {
		name := names.Next(c.at)
		if err := d.Put(t.Context(), name, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.ModTime().After(last) || info.ModTime().Before(noon.Truncate(time.Second)) {
			t.Fatalf("%s is of %v, after one of %v, %v", name, info.ModTime(), last, err)
		}
		last = info.ModTime()
	}
}

func TestTheSameFileMayBePutTwiceAndNoOther(t *testing.T) {
	dir := t.TempDir()
	d, text := NewDirectory(dir, connector, 0), document(InDirectory, 200<<10)
	for range 2 {
		if err := d.Put(t.Context(), "a.json", text...); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []string{"", "{}", joined(text) + " ", strings.Replace(joined(text), "a", "b", 1), joined(text)[1:]} {
		err := d.Put(t.Context(), "a.json", []byte(other))
		var lasting *LastingError
		if !errors.As(err, &lasting) || !strings.Contains(lasting.Remedy, "CONNECTOR_NAME") {
			t.Errorf("%.20s… in place of it: %v", other, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "a.json")); err != nil || string(got) != joined(text) || len(ls(t, dir)) != 1 {
		t.Errorf("it is another now, or something was left: %v, %q", err, ls(t, dir))
	}
	if err := d.Put(t.Context(), "../a.json"); err == nil {
		t.Error("a name led out of the folder")
	}
}

func TestAMissingFolderIsNamedAndNotMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	for _, act := range []func(*Directory) error{
		func(d *Directory) error { return d.Put(t.Context(), "a.json", []byte("{}")) },
		func(d *Directory) error { return d.Expire(t.Context()) },
	} {
		err := act(NewDirectory(dir, connector, 1))
		if err == nil || IsTemporary(err) || !strings.Contains(err.Error(), dir+" does not exist") || !strings.Contains(err.Error(), DirectorySetting) {
			t.Errorf("%v", err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	older(t, filepath.Dir(file), "file", noon)
	if err := NewDirectory(file, connector, 0).Put(t.Context(), "a.json"); err == nil || IsTemporary(err) || !strings.Contains(err.Error(), "is no folder") {
		t.Errorf("%v", err)
	}
}

func TestWhatIsOldGoesAndNothingElse(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	at := func(days float64) time.Time { return now.Add(-time.Duration(days * float64(day))) }
	name := func(connector string, days float64) string { return NewNames(connector).Next(at(days)) }
	stay := []string{
		name(connector, 0), name(connector, 6.9), name("Threat Match EU", 100), name("Other", 100), "threat_match-notes.json", "threat_match-x.json",
		name(connector, 100) + ".bak", name("Other", 100) + tmpSuffix, "readme.txt", name(connector, 99),
	}
	go1, go2 := name(connector, 7.1), name(connector, 100)
	left, writing := name(connector, 2)+tmpSuffix, name(connector, 0.01)+tmpSuffix
	for days, want := range map[int][]string{7: append([]string{writing}, stay...), 0: append([]string{writing, go1, go2}, stay...)} {
		dir, c := t.TempDir(), &clock{now}
		for _, n := range append([]string{go1, go2}, stay[:len(stay)-1]...) {
			older(t, dir, n, now) // whatever a copy says of when it was written
		}
		older(t, dir, left, now.Add(-2*time.Hour))
		older(t, dir, writing, now.Add(-time.Minute))
		if err := os.Mkdir(filepath.Join(dir, stay[len(stay)-1]), 0o700); err != nil { // no file, whatever its name
			t.Fatal(err)
		}
		d := NewDirectory(dir, connector, days)
		d.files.now = c.now
		if err := d.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := ls(t, dir)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("with %d days to keep it stay %q, want %q", days, got, want)
		}
	}
}

func TestOldFilesAreLookedForOnceAnHour(t *testing.T) {
	dir, c := t.TempDir(), &clock{noon}
	d := NewDirectory(dir, connector, 1)
	d.files.now = c.now
	for i, step := range []struct {
		days float64
		gone bool
	}{{0, true}, {0.5 / 24, false}, {0.6 / 24, true}, {-3, true}, {0.5 / 24, false}} { // the fourth is a clock that was set back
		c.days(step.days)
		old := NewNames(connector).Next(c.at.Add(-2 * day))
		older(t, dir, old, c.at)
		if err := d.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, old)); errors.Is(err, fs.ErrNotExist) != step.gone {
			t.Errorf("step %d: gone is not %t: %v", i, step.gone, err)
		}
	}
}

// TestACrashLeavesCompleteFiles kills a process that writes one file after the other, in the middle of one, and lets the next clean up.
func TestACrashLeavesCompleteFiles(t *testing.T) {
	const child = "FILES_TEST_WRITE_TO"
	if dir := os.Getenv(child); dir != "" {
		d, names := NewDirectory(dir, connector, 0), NewNames(connector)
		for { // until it is killed
			name := names.Next(time.Now())
			if err := d.Put(t.Context(), name, document(InDirectory, 4<<20)...); err != nil {
				t.Fatal(err)
			}
			fmt.Println("wrote", name)
		}
	}
	dir := t.TempDir()
	unfinished := 0
	for round := range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), child+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		told := []string{}
		for lines := bufio.NewScanner(out); len(told) < 3 && lines.Scan(); {
			if name, ok := strings.CutPrefix(lines.Text(), "wrote "); ok {
				told = append(told, name)
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if len(told) < 3 {
			t.Fatalf("round %d: it wrote %q", round, told)
		}
		for _, name := range told {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Errorf("round %d: a file that was put is not there: %v", round, err)
			}
		}
	}
	for _, name := range ls(t, dir) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if strings.HasSuffix(name, tmpSuffix) {
			unfinished++
		} else if err != nil || !json.Valid(text) {
			t.Errorf("%s is not complete: %d bytes, %v", name, len(text), err)
		}
	}
	t.Logf("%d files were left unfinished", unfinished)
	next := NewDirectory(dir, connector, 0)
	c := &clock{time.Now().Add(2 * unfinishedFor)}
	next.files.now = c.now
	if err := next.Expire(t.Context()); err != nil {
		t.Error(err)
	}
	for _, name := range ls(t, dir) {
		if strings.HasSuffix(name, tmpSuffix) {
			t.Errorf("%s was left", name)
		}
	}
}
