package deploy

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// engine is Podman with images and containers of its own, which are gone with the test.
type engine struct {
	t   *testing.T
	env []string
}

// newEngine skips the test where there is no Podman, which .ci/test-tools installs.
func newEngine(t *testing.T) *engine {
	t.Helper()
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("no image is built: podman is not installed; make test installs it")
	}
	if os.Getuid() != 0 {
		t.Skip("no image is built: this test lends the machine's own folders to a container, and has to be root for that")
	}
	dir := t.TempDir()
	runtime := "crun"
	if _, err := exec.LookPath("runc"); err == nil {
		runtime = "runc"
	}
	storage := fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", dir+"/store", dir+"/run")
	containers := fmt.Sprintf("[containers]\ndefault_ulimits = [\"nofile=512:512\", \"nproc=512:512\"]\nlog_driver = \"k8s-file\"\n"+
		"[engine]\nruntime = %q\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nlock_type = \"file\"\ntmp_dir = %q\n", runtime, dir+"/tmp")
	for name, text := range map[string]string{"storage.conf": storage, "containers.conf": containers} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &engine{t: t, env: append(os.Environ(),
		"CONTAINERS_STORAGE_CONF="+dir+"/storage.conf", "CONTAINERS_CONF="+dir+"/containers.conf", "BUILDAH_ISOLATION=chroot")}
}

func (e *engine) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(e.t.Context(), "podman", args...)
	cmd.Env = e.env
	return cmd
}

func (e *engine) podman(args ...string) string {
	e.t.Helper()
	return strings.TrimSpace(output(e.t, e.command(args...)))
}

// build has `make image` build what users build, but for the image of Go: that is this machine's own Go, with its caches.
func (e *engine) build(with, image string, flags ...string) {
	e.t.Helper()
	const base = "localhost/go-of-this-machine"
	volumes := e.standInForGo(base)
	cmd := exec.CommandContext(e.t.Context(), "make", "image", "ENGINE="+with, "IMAGE="+image, "GO_IMAGE="+base,
		"VERSION="+testVersion, "COMMIT="+testCommit, "IMAGEFLAGS="+strings.Join(append(volumes, append(flags, "--layers=false")...), " "))
	cmd.Dir, cmd.Env = "..", e.env
	output(e.t, cmd)
}

// standInForGo makes an image that is empty but for the folders where this machine's are put, and tells how to put them there.
func (e *engine) standInForGo(name string) (volumes []string) {
	e.t.Helper()
	var root bytes.Buffer
	archive := tar.NewWriter(&root)
	add := func(h tar.Header) {
		if err := archive.WriteHeader(&h); err != nil {
			e.t.Fatal(err)
		}
	}
	for _, dir := range []string{"usr", "etc", "root"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755})
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp", Mode: 0o1777})
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if target, err := os.Readlink("/" + dir); err == nil {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: dir, Linkname: target})
		} else if _, err := os.Stat("/" + dir); err == nil {
			volumes = append(volumes, "-v /"+dir+":/"+dir+":ro")
		}
	}
	if err := archive.Close(); err != nil {
		e.t.Fatal(err)
	}

	goroot, modules, cache := goEnv(e.t, "GOROOT"), goEnv(e.t, "GOMODCACHE"), goEnv(e.t, "GOCACHE")
	change := []string{"import", "--change", "ENV PATH=" + goroot + "/bin:/usr/bin:/bin"}
	for _, key := range []string{"GOMODCACHE", "GOCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOTOOLCHAIN"} {
		if value := goEnv(e.t, key); value != "" {
			change = append(change, "--change", "ENV "+key+"="+value)
		}
	}
	for _, dir := range []string{modules, cache} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			e.t.Fatal(err)
		}
		volumes = append(volumes, "-v "+dir+":"+dir)
	}
	for _, dir := range []string{"/usr", goroot, "/etc/ssl"} {
		volumes = append(volumes, "-v "+dir+":"+dir+":ro")
	}
	load := e.command(append(change, "-", name)...)
	load.Stdin = &root
	output(e.t, load)
	return volumes
}

func goEnv(t *testing.T, key string) string {
	t.Helper()
	return strings.TrimSpace(output(t, exec.CommandContext(t.Context(), "go", "env", key)))
}

// files is what an image holds, by path.
func (e *engine) files(image string) map[string]fs.FileInfo {
	e.t.Helper()
	root := e.mount(image)
	found := map[string]fs.FileInfo{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		found[strings.TrimPrefix(path, root)] = info
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return found
}

// mount gives the folder in which an image's files lie.
func (e *engine) mount(image string) string {
	e.t.Helper()
	root := e.podman("image", "mount", image)
	e.t.Cleanup(func() {
		unmount := exec.Command("podman", "image", "unmount", "--force", image)
		unmount.Env = e.env
		if out, err := unmount.CombinedOutput(); err != nil {
			e.t.Errorf("unmount %s: %v\n%s", image, err, out)
		}
	})
	return root
}
