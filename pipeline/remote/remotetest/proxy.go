package remotetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// The user that the proxies let through.
const (
	ProxyUser     = "porter"
	ProxyPassword = "pr0xy-nobody-may-see"
)

// startLimit ends a test whose proxy does not come up; where the machine has nothing else to do it takes a moment.
const startLimit = time.Minute

// Proxy is a real proxy, a program of its own that ends with the test. It lets [ProxyUser] through and nobody else.
type Proxy struct {
	// Address is its host and port, and URL that with scheme, user and password.
	Address, URL string

	t   testing.TB
	log string
}

// StartTinyproxy starts a proxy for HTTP. Without tinyproxy on the machine the test is skipped.
func StartTinyproxy(t testing.TB) *Proxy {
	t.Helper()
	return start(t, "tinyproxy", "tinyproxy-bin", "http", func(port, folder, log string) []string {
		conf := fmt.Sprintf("Port %s\nListen 127.0.0.1\nTimeout 120\nMaxClients 100\nLogLevel Connect\nLogFile %q\nBasicAuth %s %s\n",
			port, log, ProxyUser, ProxyPassword)
		return []string{"-d", "-c", Write(t, folder, "tinyproxy.conf", conf)}
	})
}

// StartMicrosocks starts a proxy for SOCKS. Without microsocks on the machine the test is skipped.
func StartMicrosocks(t testing.TB) *Proxy {
	t.Helper()
	return start(t, "microsocks", "microsocks", "socks5", func(port, _, _ string) []string {
		return []string{"-i", "127.0.0.1", "-p", port, "-u", ProxyUser, "-P", ProxyPassword}
	})
}

// Log is what the proxy has told of what went through it.
func (p *Proxy) Log() string {
	p.t.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

func start(t testing.TB, program, packet, scheme string, arguments func(port, folder, log string) []string) *Proxy {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed (Debian, Ubuntu: apt-get install %s)", program, packet)
	}
	for attempt := 1; ; attempt++ {
		folder := t.TempDir()
		port, log := strconv.Itoa(10_000+rand.N(20_000)), filepath.Join(folder, "log")
		p := &Proxy{t: t, Address: net.JoinHostPort("127.0.0.1", port), log: log}
		p.URL = scheme + "://" + ProxyUser + ":" + ProxyPassword + "@" + p.Address
		ended := run(t, path, arguments(port, folder, log), log)
		if p.comesUp(ended) {
			return p
		}
		if attempt == 3 { // another program may have taken the port
			t.Fatalf("%s does not come up: %s", program, p.Log())
		}
	}
}

// run starts a program that ends with the test at the latest; the channel is closed when it has ended.
func run(t testing.TB, path string, arguments []string, log string) <-chan struct{} {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(path, arguments...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed in the end
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	return ended
}

// comesUp waits until somebody listens, or the program has ended.
func (p *Proxy) comesUp(ended <-chan struct{}) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(startLimit)
	for {
		select {
		case <-ended:
			return false
		case <-limit:
			return false
		case <-tick.C:
			if socket, err := net.Dial("tcp", p.Address); err == nil {
				socket.Close()
				return true
			}
		}
	}
}

// OwnAddress is an address of this machine that is not its loopback interface's, which no proxy from the environment is used for. Where
// there is none the test is skipped.
func OwnAddress(t testing.TB) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
			return network.IP.String()
		}
	}
	t.Skip("this machine has no address beside its loopback interface")
	return ""
}
