package rabbitmqtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// ErrNotInstalled says that this machine has no rabbitmq-server to make a node of. Debian's package of that name brings
// all that a Node needs.
var ErrNotInstalled = errors.New("rabbitmq-server is not installed (Debian, Ubuntu: apt-get install rabbitmq-server)")

const (
	nodeUser     = "guest" // RabbitMQ's own default; the node listens on loopback only
	nodePassword = "guest"
	nodeName     = "rabbitmqtest"

	// nodeMemory is where the node's memory alarm goes off: ten times what an idle one takes.
	nodeMemory = "1GB"

	startLimit = 5 * time.Minute // it only ends a hang: on two busy cores a start takes up to half a minute
	stopLimit  = 30 * time.Second
)

// tools are the programs that a node is made of.
type tools struct{ server, epmd string }

// toolFolders hold RabbitMQ's own scripts. Those in the search path are not used: Debian's refuse to work for a user who
// is neither root nor rabbitmq, and become rabbitmq for root.
var toolFolders = []string{"/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin"}

func findTools() (tools, error) {
	epmd, err := exec.LookPath("epmd")
	if err != nil {
		return tools{}, ErrNotInstalled
	}
	for _, folder := range toolFolders {
		server := filepath.Join(folder, "rabbitmq-server")
		if _, err := os.Stat(server); err == nil {
			return tools{server: server, epmd: epmd}, nil
		}
	}
	return tools{}, ErrNotInstalled
}

// Node is a private RabbitMQ: an own Erlang node with own data, cookie and port mapper, which shares nothing with a
// RabbitMQ that the machine runs as a service. It has no plugins and listens on 127.0.0.1 alone. Methods may be called
// from any goroutine; those that start or end the node exclude each other.
type Node struct {
	tools  tools
	dir    string
	name   string
	first  *Node // of the cluster that it joins, nil for a node by itself
	config []string
	port   int // the same over restarts
	tls    *NodeTLS
	tlsAt  int // its port, 0 without TLS

	mu       sync.Mutex
	mapper   *process // Erlang's port mapper
	mapPort  int
	distPort int
	server   *process // nil before the first start
}

// NodeOption changes how a Node is made.
type NodeOption func(*Node)

// WithConfig adds lines to the node's rabbitmq.conf.
func WithConfig(lines ...string) NodeOption {
	return func(n *Node) { n.config = append(n.config, lines...) }
}

// NodeTLS is what a node shows to who reaches it over TLS, and wants of them. All are paths of PEM files.
type NodeTLS struct {
	Certificate, Key string
	// Authority has issued the client certificates that it takes.
	Authority string
	// WantsClient has it refuse clients that show no certificate of that authority.
	WantsClient bool
}

// WithTLS has the node listen at a second port, for TLS.
func WithTLS(shown NodeTLS) NodeOption { return func(n *Node) { n.tls = &shown } }

// StartNode makes a node that keeps all its files in dir, which is created if it is missing, and waits until clients can
// log in: five to ten seconds. A dir that held a node before brings its queues and messages back. The caller closes the
// node; ctx bounds the start only. The error is ErrNotInstalled when there is nothing to start.
func StartNode(ctx context.Context, dir string, options ...NodeOption) (*Node, error) {
	tools, err := findTools()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("place node: %w", err)
	}
	for attempt := 1; ; attempt++ {
		n := &Node{tools: tools, dir: dir, name: nodeName}
		for _, o := range options {
			o(n)
		}
		err := n.launch(ctx)
		if err == nil {
			return n, nil
		}
		err = errors.Join(err, n.Close())
		// Another program can take a free port between the choice and its use.
		if attempt == 3 || !errors.Is(err, errPortTaken) {
			return nil, err
		}
	}
}

// launch chooses ports, writes the configuration and starts the port mapper and the server.
func (n *Node) launch(ctx context.Context) error {
	var err error
	if n.port, err = freePort(); err != nil {
		return err
	}
	if n.tls != nil {
		if n.tlsAt, err = freePort(); err != nil {
			return err
		}
	}
	if n.first != nil {
		n.mapPort = n.first.mapPort
	} else if n.mapPort, err = freePort(); err != nil {
		return err
	}
	if err := n.writeFiles(); err != nil {
		return err
	}
	if n.first != nil {
		return n.Start(ctx)
	}
	mapper, err := startProcess(n.tools.epmd, nil, n.environment(), n.path("epmd.log"))
	if err != nil {
		return fmt.Errorf("start port mapper: %w", err)
	}
	n.mapper = mapper
	if err := n.mapper.listens(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(n.mapPort))); err != nil {
		return fmt.Errorf("start port mapper: %w", err)
	}
	return n.Start(ctx)
}

// Start starts the node again after Stop or Kill, on the same port and data, and waits until clients can log in. It does
// nothing when the node runs.
func (n *Node) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server.running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var err error
	if n.distPort, err = freePort(); err != nil {
		return err
	}
	// Input is allowed, in words, so that the script becomes the virtual machine instead of its parent: signals then go
	// to the right process. -noinput takes the permission back.
	n.server, err = startProcess(n.tools.server, []string{"-noinput"}, n.environment(), n.path("server.log"))
	if err != nil {
		return fmt.Errorf("start node: %w", err)
	}
	if err := n.awaitLogin(ctx); err != nil {
		return fmt.Errorf("start node in %s: %w", n.dir, errors.Join(err, n.server.kill()))
	}
	return nil
}

// awaitLogin waits until a client can log in, or the server has ended.
func (n *Node) awaitLogin(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		conn, err := n.dial(ctx)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-n.server.ended:
			return n.server.failure()
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Stop ends the node in good order: clients get connection.close 320, and what is persistent is on the disk. The port
// mapper stays until Close. A node that takes too long is killed, and the error says so.
func (n *Node) Stop(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if err := n.server.terminate(ctx); err != nil {
		return fmt.Errorf("stop node: %w", err)
	}
	return nil
}

// Kill ends the node's virtual machine with SIGKILL and waits until it is gone.
func (n *Node) Kill() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.server.kill(); err != nil {
		return fmt.Errorf("kill node: %w", err)
	}
	return nil
}

// Close ends all that the node started. Its files stay.
func (n *Node) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	err := errors.Join(n.server.terminate(ctx), n.mapper.kill())
	if err != nil {
		return fmt.Errorf("close node: %w", err)
	}
	return nil
}

// Host is the address that the node listens on.
func (n *Node) Host() string { return "127.0.0.1" }

// Port is the port of the AMQP listener.
func (n *Node) Port() int { return n.port }

// TLSPort is the port of the listener for TLS, 0 where there is none.
func (n *Node) TLSPort() int { return n.tlsAt }

// Addr is the address to dial, host:port.
func (n *Node) Addr() string { return net.JoinHostPort(n.Host(), strconv.Itoa(n.port)) }

// User may do everything in the virtual host /.
func (n *Node) User() string { return nodeUser }

// Password is User's.
func (n *Node) Password() string { return nodePassword }

// URL is the amqp URL, with credentials.
func (n *Node) URL() string { return amqpURL(nodeUser, nodePassword, n.Addr(), "/") }

// Depth counts the messages that wait in a queue of the virtual host /. That it does not exist is an amqp091 error 404.
func (n *Node) Depth(ctx context.Context, queue string) (messages int, err error) {
	err = n.withChannel(ctx, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		messages = q.Messages
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count queue %s: %w", queue, err)
	}
	return messages, nil
}

// DeleteQueue deletes a queue of the virtual host /, with what it holds; one that does not exist is no error.
func (n *Node) DeleteQueue(ctx context.Context, queue string) error {
	err := n.withChannel(ctx, func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(queue, false, false, false)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete queue %s: %w", queue, err)
	}
	return nil
}

func (n *Node) withChannel(ctx context.Context, do func(*amqp.Channel) error) error {
	conn, err := n.dial(ctx)
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err == nil {
		err = do(ch)
	}
	return errors.Join(err, conn.CloseDeadline(time.Now().Add(dialLimit)))
}

// dial connects and logs in.
func (n *Node) dial(ctx context.Context) (*amqp.Connection, error) {
	return amqp.DialConfig(n.URL(), amqp.Config{Dial: func(network, addr string) (net.Conn, error) {
		dialer := net.Dialer{Timeout: dialLimit}
		nc, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		// The client clears this when it has logged in.
		return nc, nc.SetDeadline(time.Now().Add(dialLimit))
	}})
}

// fullName is what other nodes call it.
func (n *Node) fullName() string { return n.name + "@localhost" }

func (n *Node) path(name string) string { return filepath.Join(n.dir, name) }

// writeFiles writes what the node reads at its start.
func (n *Node) writeFiles() error {
	config := append([]string{
		"listeners.tcp.1 = " + n.Addr(),
		"vm_memory_high_watermark.absolute = " + nodeMemory,
		"disk_free_limit.absolute = 1MB",
		"log.console = false",
	}, n.config...)
	if n.tls != nil {
		config = append(config,
			"listeners.ssl.1 = "+net.JoinHostPort(n.Host(), strconv.Itoa(n.tlsAt)),
			"ssl_options.certfile = "+n.tls.Certificate, "ssl_options.keyfile = "+n.tls.Key, "ssl_options.cacertfile = "+n.tls.Authority,
			"ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = "+strconv.FormatBool(n.tls.WantsClient),
		)
	}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return fmt.Errorf("place node: %w", err)
	}
	for _, file := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"rabbitmq.conf", strings.Join(config, "\n") + "\n", 0o600},
		{"rabbitmq-env.conf", "", 0o600}, // keeps the machine's own from being read
		{"enabled_plugins", "[].\n", 0o600},
	} {
		if err := os.WriteFile(n.path(file.name), []byte(file.text), file.mode); err != nil {
			return fmt.Errorf("place node: %w", err)
		}
	}
	return n.writeCookie()
}

// environment is all that the node's programs get to see: settings of the caller's for a RabbitMQ or an Erlang of his
// must not reach them.
func (n *Node) environment() []string {
	environment := []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8",
		"HOME=" + n.dir, // where the cookie is
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_EPMD_PORT=" + strconv.Itoa(n.mapPort),
		"ERL_CRASH_DUMP_SECONDS=0",
		"RABBITMQ_NODENAME=" + n.fullName(),
		"RABBITMQ_CONFIG_FILE=" + n.path("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + n.path("advanced.config"),
		"RABBITMQ_CONF_ENV_FILE=" + n.path("rabbitmq-env.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + n.path("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE=" + n.path("data"),
		"RABBITMQ_LOG_BASE=" + n.path("log"),
		"RABBITMQ_PID_FILE=" + n.path("pid"),
		"RABBITMQ_ALLOW_INPUT=1",
		// Two schedulers: the node is a guest on the machine that runs the tests.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}",
	}
	if n.distPort != 0 {
		environment = append(environment, "RABBITMQ_DIST_PORT="+strconv.Itoa(n.distPort))
	}
	return environment
}

// writeCookie makes the secret that lets rabbitmqctl and the nodes of a cluster command the node. A stopped node's is kept.
func (n *Node) writeCookie() error {
	secret := []byte(rand.Text())
	if n.first != nil {
		var err error
		if secret, err = os.ReadFile(n.first.path(".erlang.cookie")); err != nil {
			return fmt.Errorf("place node: %w", err)
		}
	}
	err := os.WriteFile(n.path(".erlang.cookie"), secret, 0o400)
	if errors.Is(err, fs.ErrPermission) {
		_, err = os.Stat(n.path(".erlang.cookie"))
	}
	if err != nil {
		return fmt.Errorf("place node: %w", err)
	}
	return nil
}

// freePort finds a port on the loopback interface that nothing listens on, below those that the system gives to clients:
// one of these could take it while the node is down.
func freePort() (int, error) {
	const first, last, tries = 20000, 32000, 100
	for range tries {
		port := first + mathrand.IntN(last-first)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("find free port: %w", err)
		}
		return port, nil
	}
	return 0, fmt.Errorf("find free port: none of %d between %d and %d", tries, first, last)
}
