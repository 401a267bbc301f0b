package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
)

// brokerLook is a look at RabbitMQ.
type brokerLook struct {
	*checker
	place
	told brokerTold
	conn rabbitmq.Connection
	seen rabbitmq.Seen
}

func (c *checker) broker(ctx context.Context, told <-chan brokerTold) *part {
	p := &part{name: partRabbitMQ}
	look := &brokerLook{checker: c}
	look.told = <-told // OpenCTI's checks end with the context
	if why := c.withoutBroker(); why != "" {
		f := p.line("all")
		f.Status, f.Detail = OK, "not used: "+why
		return p
	}
	p.must(ctx, "address", look.address)
	if len(look.conn.Others) > 0 {
		look.cluster(ctx, p)
	} else {
		p.reach(ctx, look.place)
		p.must(ctx, "login", look.login)
	}
	p.try(ctx, "limits", look.limits)
	p.try(ctx, "queue", look.queue)
	return p
}

// withoutBroker says why the connector does without RabbitMQ, "" where it does not.
func (c *checker) withoutBroker() string {
	switch of := c.cfg.Connector; {
	case of.Uploads():
		return "CONNECTOR_VALIDATE_BEFORE_IMPORT has everything uploaded to OpenCTI"
	case !of.SendToQueue:
		return "CONNECTOR_SEND_TO_QUEUE is false"
	case of.QueueProtocol == config.QueueAPI:
		return "CONNECTOR_QUEUE_PROTOCOL=api hands everything to OpenCTI"
	}
	return ""
}

// address tells where the broker is, and who says so.
func (l *brokerLook) address(context.Context) (string, string, error) {
	by := "OpenCTI"
	switch own := complete(l.cfg.MQ); {
	case l.told.err != nil && !own:
		var not *unseen
		if errors.As(l.told.err, &not) {
			not.remedy = "to look at RabbitMQ all the same, set MQ_HOST, MQ_PORT, MQ_USER and MQ_PASS"
		}
		return "", "", l.told.err
	case own:
		by = "MQ_HOST"
	case len(l.cfg.MQ.Hosts) > 0:
		by = "MQ_HOST, with the rest from OpenCTI"
	}
	conn := remotes.Broker(l.cfg, l.keys, l.told.queue)
	if err := l.at(conn); err != nil {
		return "", "", err
	}
	over := "AMQP"
	if conn.UseSSL {
		over = "AMQPS"
	}
	addresses := make([]string, 0, 1+len(conn.Others))
	for _, node := range conn.Nodes() {
		addresses = append(addresses, net.JoinHostPort(node.Host, strconv.Itoa(node.Port)))
	}
	return fmt.Sprintf("%s, %s, virtual host %q, as %s says", strings.Join(addresses, ", "), over, cmp.Or(conn.VHost, "/"), by), "", nil
}

// at makes a connection the one that is looked at.
func (l *brokerLook) at(conn rabbitmq.Connection) (err error) {
	l.conn = conn
	at := place{
		host: conn.Host, port: strconv.Itoa(conn.Port), scheme: "amqp", settings: rabbitmq.Settings, way: remotes.WayToBroker(l.cfg, l.keys),
	}
	if conn.UseSSL {
		at.tls = conn.Settings
	}
	l.place, err = at.throughProxy()
	return err
}

// complete reports whether the configuration says all that is needed to reach a broker.
func complete(mq config.MQ) bool {
	portless := func(h config.BrokerHost) bool { return h.Port == 0 }
	return len(mq.Hosts) > 0 && (mq.Port != 0 || !slices.ContainsFunc(mq.Hosts, portless)) && mq.User != "" && mq.Pass != ""
}

func (l *brokerLook) login(ctx context.Context) (string, string, error) {
	seen, err := rabbitmq.Look(ctx, rabbitmq.Config{Connection: l.conn, Dial: remotes.DialBroker(l.cfg, l.keys), HandshakeTimeout: stepLimit}, l.told.name)
	if err == nil {
		l.seen = seen
		return strings.TrimSpace(fmt.Sprintf("as %s, to %s %s", l.conn.User, seen.Product, seen.Version)), "", nil
	}
	const user = "check MQ_USER and MQ_PASS, or the user that OpenCTI tells (rabbitmq:username, rabbitmq:password)"
	switch {
	case rabbitmq.IsCredentialsRefused(err) && l.conn.User == "guest" && !isLocal(l.conn.Host):
		return "", "", wrong(user+"; RabbitMQ lets guest in from its own machine only", "RabbitMQ does not let the user guest in")
	case rabbitmq.IsCredentialsRefused(err):
		return "", "", wrong(user, "RabbitMQ does not accept the password of the user %s, or does not know that user", l.conn.User)
	case rabbitmq.IsVHostRefused(err):
		return "", "", wrong("check MQ_VHOST, or what OpenCTI tells (rabbitmq:vhost), which are plain names and not encoded as in a URL, and the user's permissions there",
			"RabbitMQ has no virtual host %q, or keeps the user %s out of it", cmp.Or(l.conn.VHost, "/"), l.conn.User)
	}
	return "", "", l.explain(ctx, rabbitmq.Diagnose(err, l.conn), fmt.Sprintf("no login at %s: %v", l.place.address(), err),
		"check that this is the port at which RabbitMQ listens for AMQP 0-9-1")
}

func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Limits of a RabbitMQ that was not told otherwise. It does not tell over AMQP what it was told.
const (
	messageLimit    = 16 << 20  // since 4.0
	oldMessageLimit = 128 << 20 // before
)

func (l *brokerLook) limits(context.Context) (string, string, error) {
	own := l.cfg.Connector.MaxMessageBytes
	frame := fmt.Sprintf("frames of up to %d KiB", l.seen.FrameMax>>10)
	major, err := strconv.Atoi(strings.SplitN(l.seen.Version, ".", 2)[0])
	if err != nil || l.seen.Product != "RabbitMQ" {
		return frame + "; the largest message is not known", "", nil
	}
	limit := messageLimit
	if major < 4 {
		limit = oldMessageLimit
	}
	seen := fmt.Sprintf("%s, messages of up to %d MiB unless it is told otherwise; CONNECTOR_MAX_MESSAGE_BYTES is %.1f MiB",
		frame, limit>>20, float64(own)/(1<<20))
	if own > limit {
		return seen, "raise RabbitMQ's max_message_size, or lower CONNECTOR_MAX_MESSAGE_BYTES", nil
	}
	return seen, "", nil
}

func (l *brokerLook) queue(context.Context) (string, string, error) {
	switch {
	case l.told.name == "":
		return "", "", &unseen{why: "there is none yet: OpenCTI declares it at the first start"}
	case !l.seen.Exists:
		return fmt.Sprintf("%s is not there: OpenCTI declares it again at the next start", l.told.name), "", nil
	}
	seen := fmt.Sprintf("%s holds %s and has %s", l.told.name, words.Counted(int64(l.seen.Messages), "message"), words.Counted(int64(l.seen.Consumers), "consumer"))
	if l.seen.Consumers == 0 {
		return seen, "no worker of OpenCTI reads it at the moment: see that one runs", nil
	}
	return seen, "", nil
}
