package deploy

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	testImage = "localhost/connector-threatmatch-go:test"
	program   = "/usr/local/bin/connector-threatmatch"
	stateDir  = "/var/lib/connector-threatmatch"
)

func TestTheImage(t *testing.T) {
	e := newEngine(t)
	e.build("podman", testImage)
	root := e.mount(testImage)
	t.Run("HoldsTheProgramAndLittleElse", func(t *testing.T) { e.with(t).holdsLittle(testImage) })
	t.Run("HoldsTheReleasedProgram", func(t *testing.T) { holdsWhatIsReleased(t, root) })
	t.Run("TrustsTheUsualAuthorities", func(t *testing.T) { trustsAuthorities(t, root) })
	t.Run("SaysWhatItIs", func(t *testing.T) { e.with(t).saysWhatItIs(testImage) })
	t.Run("IsBuiltForAnotherProcessor", func(t *testing.T) {
		other := "arm64"
		if goEnv(t, "GOHOSTARCH") == other {
			other = "amd64"
		}
		e := e.with(t)
		e.build("podman", testImage+"-"+other, "--platform linux/"+other)
		if got := e.podman("image", "inspect", "--format", "{{.Architecture}}", testImage+"-"+other); got != other {
			t.Errorf("the image is for %s, want %s", got, other)
		}
		isStatic(t, e.mount(testImage+"-"+other)+program, machines[other])
	})
	t.Run("IsBuiltByBuildahAlike", func(t *testing.T) {
		if _, err := exec.LookPath("buildah"); err != nil {
			t.Skip("buildah is not installed")
		}
		e := e.with(t)
		e.build("buildah", testImage+"-buildah")
		if e.config(testImage).String() != e.config(testImage+"-buildah").String() {
			t.Errorf("podman: %s\nbuildah: %s", e.config(testImage), e.config(testImage+"-buildah"))
		}
		sameBytes(t, e.mount(testImage+"-buildah")+program, root+program)
	})
	t.Run("Runs", func(t *testing.T) { e.with(t).runs(testImage, root) })
}

// with is the engine for a part of a test.
func (e *engine) with(t *testing.T) *engine { return &engine{t: t, env: e.env} }

func (e *engine) holdsLittle(image string) {
	e.t.Helper()
	want := map[string]struct {
		mode fs.FileMode
		uid  uint32
	}{
		"/etc/group": {0o644, 0}, "/etc/passwd": {0o644, 0}, "/etc/ssl/certs/ca-certificates.crt": {0o644, 0},
		program: {0o755, 0}, "/usr/share/licenses/connector-threatmatch/LICENSE": {0o644, 0}, "/usr/share/licenses/connector-threatmatch/THIRD_PARTY_LICENSES": {0o644, 0},
		"/usr/share/sbom/connector-threatmatch.cdx.json": {0o644, 0},
		stateDir: {fs.ModeDir | 0o700, 10001}, "/tmp": {fs.ModeDir | fs.ModeSticky | 0o777, 0},
	}
	var size int64
	for path, info := range e.files(image) {
		owner := info.Sys().(*syscall.Stat_t)
		expected, named := want[path]
		delete(want, path)
		switch {
		case named && (info.Mode() != expected.mode || owner.Uid != expected.uid || owner.Gid != expected.uid):
			e.t.Errorf("%s is %v and belongs to %d:%d, want %v and %d", path, info.Mode(), owner.Uid, owner.Gid, expected.mode, expected.uid)
		case !named && !info.IsDir():
			e.t.Errorf("nobody asked for %s", path)
		case !named && (info.Mode().Perm()&0o022 != 0 || owner.Uid != 0):
			e.t.Errorf("%s can be written to: %v, owner %d", path, info.Mode(), owner.Uid)
		}
		size += info.Size()
	}
	for path := range want {
		e.t.Errorf("%s is missing", path)
	}
	if size > 21_000_000 {
		e.t.Errorf("the image has %d bytes", size)
	}
}

func holdsWhatIsReleased(t *testing.T, root string) {
	listsItsModules(t, root+program, root+"/usr/share/sbom/connector-threatmatch.cdx.json")
	holdsItsLicences(t, root+program, root+"/usr/share/licenses/connector-threatmatch/THIRD_PARTY_LICENSES")
	source := sourceCopy(t)
	released := "dist/connector-threatmatch-linux-" + goEnv(t, "GOHOSTARCH")
	makeTarget(t, source, released)
	sameBytes(t, root+program, filepath.Join(source, released))
}

func sameBytes(t *testing.T, one, other string) {
	t.Helper()
	if sha256.Sum256([]byte(read(t, one))) != sha256.Sum256([]byte(read(t, other))) {
		t.Errorf("%s and %s differ", one, other)
	}
}

func trustsAuthorities(t *testing.T, root string) {
	rest, authorities, known := []byte(read(t, root+"/etc/ssl/certs/ca-certificates.crt")), 0, false
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue // a few old ones are not to Go's taste
		}
		authorities++
		known = known || c.Subject.CommonName == "ISRG Root X1"
	}
	if authorities < 100 || !known {
		t.Errorf("the image trusts %d authorities; one that everybody trusts is among them: %v", authorities, known)
	}
}

// imageConfig is what an image says of how it is run.
type imageConfig struct {
	User, WorkingDir string
	Env, Entrypoint  []string
	ExposedPorts     map[string]struct{}
	Volumes          map[string]struct{}
	Labels           map[string]string
	Healthcheck      struct {
		Test                           []string
		Interval, Timeout, StartPeriod int64
		Retries                        int
	}
}

// String is it without the name of the tool that built it.
func (c imageConfig) String() string {
	delete(c.Labels, "io.buildah.version")
	text, _ := json.Marshal(c)
	return string(text)
}

func (e *engine) config(image string) imageConfig {
	e.t.Helper()
	var inspected []struct {
		Config      imageConfig
		Healthcheck json.RawMessage
	}
	if err := json.Unmarshal([]byte(e.podman("image", "inspect", image)), &inspected); err != nil {
		e.t.Fatal(err)
	}
	if err := json.Unmarshal(inspected[0].Healthcheck, &inspected[0].Config.Healthcheck); err != nil {
		e.t.Fatalf("the image has no health check: %v", err)
	}
	return inspected[0].Config
}

func (e *engine) saysWhatItIs(image string) {
	e.t.Helper()
	c := e.config(image)
	if c.User != "10001:10001" || c.WorkingDir != stateDir || !slices.Equal(c.Entrypoint, []string{program}) {
		e.t.Errorf("%s", c)
	}
	for _, want := range []string{"CONNECTOR_STATUS_ADDRESS=:9096", "CONNECTOR_STATE_DIR=" + stateDir} {
		if !slices.Contains(c.Env, want) {
			e.t.Errorf("the environment lacks %s: %q", want, c.Env)
		}
	}
	if _, ok := c.ExposedPorts["9096/tcp"]; !ok || len(c.ExposedPorts) != 1 {
		e.t.Errorf("the ports are %v", c.ExposedPorts)
	}
	if _, ok := c.Volumes[stateDir]; !ok || len(c.Volumes) != 1 {
		e.t.Errorf("the volumes are %v", c.Volumes)
	}
	if !slices.Equal(c.Healthcheck.Test, []string{"CMD", program, "health"}) {
		e.t.Errorf("health is asked with %q, not by the program itself", c.Healthcheck.Test)
	}
	for label, want := range map[string]string{
		"title": "ThreatMatch connector for OpenCTI", "licenses": "Apache-2.0", "version": testVersion, "revision": testCommit,
		"source":      "https://github.com/opencti-connectors/threatmatch",
		"description": "Brings ThreatMatch's profiles, alerts and indicators of compromise into OpenCTI",
	} {
		if got := c.Labels["org.opencontainers.image."+label]; got != want {
			e.t.Errorf("the label %s is %q, want %q", label, got, want)
		}
	}
}

// runs starts the image as deploy/README.md says. A machine that forbids containers has the same files as root, read-only, for a user
// without rights.
func (e *engine) runs(image, root string) {
	e.t.Helper()
	hardened := []string{"run", "--network", "none", "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--memory", "256m", "-v", "threatmatch-state:" + stateDir}
	start := func(args ...string) *exec.Cmd {
		return e.command(append(append(slices.Clone(hardened), image), args...)...)
	}
	probe := start("version")
	confined := true
	if out, err := probe.CombinedOutput(); err != nil && probe.ProcessState.ExitCode() >= 125 {
		confined = false
		e.t.Logf("this machine forbids containers (%s): a read-only root stands in for one, and neither the health check nor the limits "+
			"are tried", strings.TrimSpace(string(out)))
		start = func(args ...string) *exec.Cmd { return changedRoot(e.t, root, args...) }
	}
	if got := output(e.t, start("version")); !strings.Contains(got, testVersion) || !strings.Contains(got, testCommit) {
		e.t.Errorf("version prints %q", got)
	}
	if got := output(e.t, start("sandbox", "--indicators", "100")); !strings.Contains(got, "The account adds up.") {
		e.t.Errorf("the sandbox does not come to its end:\n%s", got)
	}
	if confined {
		e.isAService(image, hardened)
	}
}

// changedRoot runs the program on an image's files, read-only, as its user.
func changedRoot(t *testing.T, root string, args ...string) *exec.Cmd {
	const script = `set -e
mount --bind "$0" "$0"
mount -o remount,bind,ro "$0"
mount -t tmpfs tmpfs "$0/tmp"
mount -t tmpfs -o uid=10001,gid=10001,mode=700 tmpfs "$0` + stateDir + `"
exec setpriv --no-new-privs chroot --userspec 10001:10001 --groups 10001 "$0" ` + program + ` "$@"`
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"--mount", "sh", "-c", script, root}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CONNECTOR_STATE_DIR=" + stateDir}
	return cmd
}

// isAService has the connector wait for an OpenCTI that is not there: that is no reason to start it anew, and it stops when told.
func (e *engine) isAService(image string, hardened []string) {
	e.t.Helper()
	const name = "connector-threatmatch"
	settings := []string{"OPENCTI_URL=http://127.0.0.1:1", "OPENCTI_TOKEN=0d6b3c4e-0000-4000-8000-000000000001",
		"CONNECTOR_ID=0d6b3c4e-0000-4000-8000-000000000002", "THREATMATCH_CLIENT_ID=id", "THREATMATCH_CLIENT_SECRET=secret"}
	args := append(slices.Clone(hardened), "--detach", "--name", name)
	for _, s := range settings {
		args = append(args, "--env", s)
	}
	e.podman(append(args, image)...)
	e.t.Cleanup(func() {
		remove := exec.Command("podman", "rm", "--force", "--ignore", "--time", "5", name)
		remove.Env = e.env
		if out, err := remove.CombinedOutput(); err != nil {
			e.t.Errorf("remove the container: %v\n%s", err, out)
		}
	})
	patience, cancel := context.WithTimeout(e.t.Context(), time.Minute)
	defer cancel()
	for e.command("exec", name, program, "health").Run() != nil {
		if patience.Err() != nil {
			e.t.Fatalf("the connector is not well:\n%s", e.podman("logs", name))
		}
	}
	e.podman("healthcheck", "run", name) // the same, as the image asks it
	e.podman("stop", "--time", "30", name)
	if got := e.podman("inspect", "--format", "{{.State.ExitCode}}", name); got != "0" {
		e.t.Errorf("told to stop, it exits with %s", got)
	}
}
