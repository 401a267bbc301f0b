package filestest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What every server is told, and whoever asks it has to say.
const (
	AccessKey = "access-nobody-may-see"
	SecretKey = "secret-nobody-may-see"
	Region    = "eu-west-3"
	Bucket    = "bundles"
)

const (
	program    = "versitygw"
	startLimit = time.Minute
	pollEvery  = 20 * time.Millisecond
)

// Server is a server of S3 on the loopback interface. It ends with the test.
type Server struct {
	Host string
	Port int
	// Folder holds what is in [Bucket], a file for each key.
	Folder string
}

// Option changes how a server is started.
type Option func(*[]string)

// ReadOnly lets nobody write.
func ReadOnly() Option { return func(args *[]string) { *args = append(*args, "--readonly") } }

// TLS serves with a certificate, the path of a PEM file as that of its key is.
func TLS(cert, key string) Option {
	return func(args *[]string) { *args = append(*args, "--cert", cert, "--key", key) }
}

// Start starts a server, or skips the test where there is none to be had.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	path := find()
	if path == "" {
		t.Skipf("%s is not installed: .ci/test-tools does that", program)
	}
	root := t.TempDir()
	s := &Server{Host: "127.0.0.1", Folder: filepath.Join(root, "buckets", Bucket)}
	if err := os.MkdirAll(s.Folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for try := 1; ; try++ {
		s.Port = 10_000 + rand.N(20_000)
		args := []string{"--port", s.Address(), "--access", AccessKey, "--secret", SecretKey, "--region", Region, "--keep-alive", "--quiet"}
		for _, o := range options {
			o(&args)
		}
		err := s.launch(t, path, append(args, "posix", filepath.Dir(s.Folder)))
		if err == nil {
			return s
		}
		if try == 5 || !strings.Contains(err.Error(), "in use") {
			t.Fatal(err)
		}
	}
}

// Address is where the server listens.
func (s *Server) Address() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// launch starts the program and waits until it takes connections.
func (s *Server) launch(t testing.TB, path string, args []string) error {
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"HOME=" + t.TempDir()} // of nobody's settings
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	setAttributes(cmd)
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// The program is told to end with the thread that started it, so the thread must not end before.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	for {
		socket, err := new(net.Dialer).DialContext(ctx, "tcp", s.Address())
		if err == nil {
			t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
			return socket.Close()
		}
		select {
		case <-ended:
			return fmt.Errorf("start %s: %s", program, &said)
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			<-ended
			return fmt.Errorf("start %s: %w", program, ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}

// find looks in the search path and where .ci/test-tools installs it.
func find() string {
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	dir, err := os.Getwd()
	for err == nil {
		path := filepath.Join(dir, "bin", "tools", program)
		if _, missing := os.Stat(path); missing == nil {
			return path
		}
		if filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	return ""
}
