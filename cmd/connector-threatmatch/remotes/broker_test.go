package remotes

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/opencti"
)

func TestTheBrokersHostsAreThoseOfTheSettingsElseOfOpenCTI(t *testing.T) {
	for _, tt := range []struct {
		told    string // by OpenCTI, with the port 5672
		changes map[string]string
		want    string
	}{
		{"rabbitmq", nil, "[rabbitmq:5672]"},
		{"[2001:db8::1]", nil, "[[2001:db8::1]:5672]"}, // it makes a URL of the text
		{"2001:db8::1", nil, "[[2001:db8::1]:5672]"},
		{"mq1, mq2:5673", nil, "[mq1:5672 mq2:5673]"},
		{"what is this", nil, "[what is this:5672]"},
		{"mq1,mq2:5673", map[string]string{"MQ_PORT": "5671"}, "[mq1:5671 mq2:5673]"},
		{"rabbitmq", map[string]string{"MQ_HOST": "a,b:1,[::1]:2"}, "[a:5672 b:1 [::1]:2]"},
		{"rabbitmq", map[string]string{"MQ_HOST": "a,b:1", "MQ_PORT": "3", "MQ_USE_SSL": "true"}, "[a:3 b:1]"},
	} {
		cfg, keys := keyring(t, tt.changes, nil)
		conn := Broker(cfg, keys, opencti.Queue{Host: tt.told, Port: 5672, User: "u", VHost: "a%2fb"})
		var got []string
		for _, node := range conn.Nodes() {
			got = append(got, net.JoinHostPort(node.Host, strconv.Itoa(node.Port)))
			if node.VHost != "a%2fb" || node.User != "u" || node.Settings().ServerName != node.Host {
				t.Errorf("%q: a node is %v, with the server's name %s", tt.told, node, node.Settings().ServerName)
			}
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%q with %v: %v, want %s", tt.told, tt.changes, got, tt.want)
		}
	}
}
