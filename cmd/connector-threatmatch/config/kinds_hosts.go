package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// BrokerHost is where a node of RabbitMQ listens.
type BrokerHost struct {
	Name string
	Port int // 0 for that which holds for all
}

// BrokerHosts reads the nodes of a RabbitMQ: names or addresses, separated by commas, each with a port of its own or without. An
// IPv6 address with a port stands in brackets. Names are not looked into further: container networks have such as no registrar
// takes.
func BrokerHosts(text string) ([]BrokerHost, bool) {
	var hosts []BrokerHost
	for part := range strings.SplitSeq(text, ",") {
		host, ok := brokerHost(strings.TrimSpace(part))
		if !ok {
			return nil, false
		}
		hosts = append(hosts, host)
	}
	return hosts, true
}

func brokerHost(text string) (BrokerHost, bool) {
	if address, err := netip.ParseAddr(text); err == nil {
		return BrokerHost{Name: address.String()}, true
	}
	if inner, opened := strings.CutPrefix(text, "["); opened {
		if address, closed := strings.CutSuffix(inner, "]"); closed {
			return BrokerHost{Name: address}, isIPv6(address)
		}
	}
	name, port, withPort := text, 0, strings.Contains(text, ":")
	if withPort {
		var digits string
		var err error
		if name, digits, err = net.SplitHostPort(text); err != nil || digits == "" || !portInRange(digits) {
			return BrokerHost{}, false
		}
		port, _ = strconv.Atoi(digits) // in range
		if strings.HasPrefix(text, "[") {
			return BrokerHost{Name: name, Port: port}, isIPv6(name)
		}
	}
	return BrokerHost{Name: name, Port: port}, name != "" && !strings.ContainsAny(name, ":;/?#@[]\\ \t\x00\r\n")
}

func isIPv6(text string) bool {
	address, err := netip.ParseAddr(text)
	return err == nil && address.Is6()
}

func brokerHosts() kind[[]BrokerHost] {
	return kind[[]BrokerHost]{
		parse: BrokerHosts,
		says: "host names or addresses, separated by commas, without a scheme or a user; a port of its own follows a colon " +
			"(an IPv6 address stands in brackets then)",
		typ: schemaType{Type: "string"},
	}
}
