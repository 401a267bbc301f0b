package endtoend

import (
	"encoding/json"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

const (
	oddUser     = `us er@ü/%41"`
	oddPassword = `p@ss:w/ö"rd %41+&=;'\#`
)

var oddVHosts = []string{"/", "a/b", "%2f", "a b", "ü", `"`, `a\b?c=d#e&%`}

// defineOdd makes the virtual hosts and a user who may do everything there.
func defineOdd(t *testing.T, node *rabbitmqtest.Node) {
	t.Helper()
	type named struct {
		Name string `json:"name"`
	}
	type permission struct {
		User      string `json:"user"`
		VHost     string `json:"vhost"`
		Configure string `json:"configure"`
		Write     string `json:"write"`
		Read      string `json:"read"`
	}
	var vhosts []named
	var permissions []permission
	for _, name := range oddVHosts {
		vhosts = append(vhosts, named{name})
		permissions = append(permissions, permission{oddUser, name, ".*", ".*", ".*"})
	}
	text, err := json.Marshal(map[string]any{
		"users":  []map[string]any{{"name": oddUser, "password": oddPassword, "tags": ""}},
		"vhosts": vhosts, "permissions": permissions,
	})
	must(t, err)
	path := filepath.Join(t.TempDir(), "definitions.json")
	must(t, os.WriteFile(path, text, 0o600))
	must(t, node.Control(t.Context(), "import_definitions", path))
}

// oddURL is where the virtual host is.
func oddURL(node *rabbitmqtest.Node, vhost string) string {
	u := url.URL{Scheme: "amqp", User: url.UserPassword(oddUser, oddPassword), Host: node.Addr()}
	return u.String() + "/" + url.PathEscape(vhost)
}

// TestOddNamesReachTheBrokerAsTheyAre brings something to virtual hosts of all sorts, as a user of odd names, where OpenCTI tells
// of them, and where the settings do, with a list of hosts of which the first is away.
func TestOddNamesReachTheBrokerAsTheyAre(t *testing.T) {
	node := sharedNode(t)
	defineOdd(t, node)
	for _, vhost := range oddVHosts {
		for _, told := range []string{"OpenCTI", "MQ_VHOST"} {
			t.Run(strings.ReplaceAll(vhost, "/", "slash")+" by "+told, func(t *testing.T) {
				data := threatmatchtest.Generate(threatmatchtest.Shape{Seed: 5, Profiles: 3})
				cfg := worldConfig{api: threatmatchtest.Config{Data: data}, realBroker: true}
				if told == "OpenCTI" {
					cfg.platform.Broker = openctitest.BrokerURL(oddURL(node, vhost))
				}
				w := newWorld(t, cfg)
				w.secrets = append(w.secrets, oddPassword)
				if told != "OpenCTI" {
					declareFor(t, oddURL(node, vhost), w.env["CONNECTOR_ID"])
					away := configtest.Listen(t, "127.0.0.1")
					must(t, away.Close())
					_, port, _ := net.SplitHostPort(node.Addr())
					w.env["MQ_HOST"], w.env["MQ_PORT"] = away.Addr().String()+",localhost.invalid,127.0.0.1", port
					w.env["MQ_VHOST"], w.env["MQ_USER"], w.env["MQ_PASS"] = vhost, oddUser, oddPassword
				}
				w.run(exitOK)
				var messages []delivery
				for _, body := range takeFromNode(t, oddURL(node, vhost), w.queue()) {
					d, err := readDelivery(body)
					must(t, err)
					messages = append(messages, d)
				}
				checkHeld(t, messages, held(t, data, defaultMapping))
			})
		}
	}
}

// declareFor declares in a virtual host what OpenCTI declares for a connector in its own.
func declareFor(t *testing.T, url, id string) {
	t.Helper()
	conn, err := amqp.Dial(url)
	must(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	must(t, err)
	must(t, ch.ExchangeDeclare("amqp.worker.exchange", "direct", true, false, false, false, nil))
	_, err = ch.QueueDeclare("push_"+id, true, false, false, false, nil)
	must(t, err)
	must(t, ch.QueueBind("push_"+id, "push_routing_"+id, "amqp.worker.exchange", false, nil))
}
