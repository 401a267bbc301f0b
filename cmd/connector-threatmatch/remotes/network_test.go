package remotes

import (
	"net/url"
	"testing"

	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func load(t *testing.T, changes map[string]string) config.Config {
	t.Helper()
	cfg, _, err := config.Load("", false, configtest.Environ(changes))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestAProxyIsUsedExceptWhereItIsNotWanted(t *testing.T) {
	c := load(t, map[string]string{"HTTPS_PROXY": "http://me:secret@proxy:3128", "http_proxy": "plain:80", "NO_PROXY": "inside.example"})
	for address, want := range map[string]string{
		"https://eu.threatmatch.com/x": "http://me:secret@proxy:3128", "http://opencti:8080": "http://plain:80",
		"https://inside.example": "", "http://a.inside.example": "",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		got, err := proxyOf(c.Network)(u)
		if err != nil || want == "" && got != nil || want != "" && (got == nil || got.String() != want) {
			t.Errorf("%s goes over %v (%v), want %q", address, got, err, want)
		}
	}
}

// RabbitMQ is mostly inside: only a setting of its own diverts it.
func TestOnlyMQPROXYDivertsRabbitMQ(t *testing.T) {
	for name, tt := range map[string]struct {
		changes map[string]string
		want    string
	}{
		"nothing said":                           {nil, ""},
		"a proxy for the others":                 {map[string]string{"HTTPS_PROXY": "http://proxy:3128", "HTTP_PROXY": "http://proxy:3128"}, ""},
		"one of its own":                         {map[string]string{"MQ_PROXY": "socks5://proxy:1080"}, "socks5://proxy:1080"},
		"one of its own, as a place":             {map[string]string{"MQ_PROXY": "proxy:3128"}, "http://proxy:3128"},
		"that of the others":                     {map[string]string{"MQ_PROXY": "environment", "HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"},
		"not that for plain requests":            {map[string]string{"MQ_PROXY": "environment", "HTTP_PROXY": "http://proxy:3128"}, ""},
		"left out":                               {map[string]string{"MQ_PROXY": "environment", "HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "mq.inside"}, ""},
		"one of its own, left out of the others": {map[string]string{"MQ_PROXY": "http://proxy:1", "NO_PROXY": "mq.inside"}, "http://proxy:1"},
	} {
		cfg := load(t, tt.changes)
		keys, err := NewKeyring(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := WayToBroker(cfg, keys).ProxyTo(&url.URL{Scheme: "amqp", Host: "mq.inside:5671"})
		if err != nil || tt.want == "" && got != nil || tt.want != "" && (got == nil || got.String() != tt.want) {
			t.Errorf("%s: by %v, %v; want %q", name, got, err, tt.want)
		}
	}
}
