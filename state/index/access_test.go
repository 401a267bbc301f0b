//go:build unix

package index

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencti-connectors/threatmatch/pipeline"
)

// open widens the modes of all that a folder holds, and of itself.
func open(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(files, dir) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// inReach lists what others than the owner may read or find in a folder, and the folder itself.
func inReach(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode()&0o077 != 0 {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// lived is the folder of an index in which every kind of file has been made.
func lived(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(folder(t), "state")
	x, opening := mustOpen(t, dir, Options{})
	x.Put(testKey(1), Record{Digest: 1})
	mustFlush(t, x)
	saveOne(t, x.Waiting(), Waiter{Object: pipeline.Object{ID: "a"}, Kind: HeldBack})
	mustClose(t, x)
	if opening.Exposed != "" {
		t.Errorf("a folder of its own: %s", opening.Exposed)
	}
	return dir
}

func TestNobodyElseMayReadAnIndex(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := lived(t)
	if paths := inReach(t, dir); len(paths) > 0 {
		t.Errorf("anybody may read %q", paths)
	}
	open(t, dir)
	_, opening := mustOpen(t, dir, Options{})
	if paths := inReach(t, dir); len(paths) > 0 || opening.Exposed != "" || opening.Entries != 1 {
		t.Errorf("of what was open to all before anybody may read %q; %+v", paths, opening)
	}
}

func TestAFolderThatIsNotTheIndexsOwnKeepsItsModeAndThatIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		share func(dir string) error
		want  string
		root  bool
	}{
		"a folder for all":       {func(dir string) error { return os.Chmod(dir, 0o777|fs.ModeSticky) }, "more than the index", false},
		"other folders in it":    {func(dir string) error { return os.Mkdir(filepath.Join(dir, "other"), 0o700) }, "more than the index", false},
		"what a disk begins by":  {func(dir string) error { return os.Mkdir(filepath.Join(dir, "lost+found"), 0o700) }, "", false},
		"a folder of some other": {func(dir string) error { return os.Chown(dir, 65534, -1) }, "another user", true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				t.Skip("only root may give a folder away")
			}
			dir := lived(t)
			open(t, dir)
			if err := c.share(dir); err != nil {
				t.Fatal(err)
			}
			_, opening := mustOpen(t, dir, Options{})
			info, err := os.Stat(dir)
			if err != nil {
				t.Fatal(err)
			}
			if (c.want == "") != (opening.Exposed == "") || !strings.Contains(opening.Exposed, c.want) || (info.Mode()&0o077 != 0) != (c.want != "") {
				t.Errorf("mode %v; %+v", info.Mode(), opening)
			}
			if info, err := os.Stat(filepath.Join(dir, identityFile)); err != nil || info.Mode()&0o077 != 0 {
				t.Errorf("its files have mode %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestAFolderBehindALinkIsClosedToo(t *testing.T) {
	dir := lived(t)
	open(t, dir)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	_, opening := mustOpen(t, link, Options{})
	if paths := inReach(t, dir); len(paths) > 0 || opening.Exposed != "" || opening.Entries != 1 {
		t.Errorf("anybody may read %q; %+v", paths, opening)
	}
}
