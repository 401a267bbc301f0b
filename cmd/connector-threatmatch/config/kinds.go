package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

func singleLine() kind[string] {
	return kind[string]{
		parse: func(s string) (string, bool) { return s, !strings.ContainsAny(s, "\x00\r\n") },
		says:  "a single line of text",
		typ:   schemaType{Type: "string"},
	}
}

// hostAlone reads the name or the address of a machine, an IPv6 one also in brackets; a port has a setting of its own. Names are not
// looked into further: container networks have such as no registrar takes.
func hostAlone(port string) kind[string] {
	return kind[string]{
		parse: func(s string) (string, bool) {
			bare := s
			if inner, opened := strings.CutPrefix(s, "["); opened {
				bare, _ = strings.CutSuffix(inner, "]")
			}
			if address, err := netip.ParseAddr(bare); err == nil && (bare == s || address.Is6() && s == "["+bare+"]") {
				return bare, true
			}
			return s, !strings.ContainsAny(s, ":/?#@[]\\ \t\x00\r\n")
		},
		says: "a host name or an address alone, without a scheme, a user or a port, which goes to " + port,
		typ:  schemaType{Type: "string"},
	}
}

// listenAddress reads where to listen: a port, and before it the address of an interface or nothing for all. Off is nowhere.
func listenAddress() kind[string] {
	return kind[string]{
		parse: func(s string) (string, bool) {
			if strings.EqualFold(s, "off") {
				return "", true
			}
			host, port, err := net.SplitHostPort(s)
			if err != nil || port == "" || !portInRange(port) || strings.ContainsAny(host, "/?#@\\ \t\x00\r\n") {
				return "", false
			}
			return s, true
		},
		says: "an address to listen on, like 127.0.0.1:9096 or :9096, or off",
		typ:  schemaType{Type: "string"},
	}
}

// metricPrefix is a prefix as Prometheus allows it.
func metricPrefix() kind[string] {
	word := regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	return kind[string]{
		parse: func(s string) (string, bool) { return s, word.MatchString(s) },
		says:  "letters, digits and underscores, not a digit first",
		typ:   schemaType{Type: "string"},
	}
}

func secretLine() kind[Secret] {
	return kind[Secret]{
		// It travels in HTTP headers and AMQP frames: a stray line break from a copied file would break those.
		parse: func(s string) (Secret, bool) { return Secret(s), !strings.ContainsAny(s, "\x00\r\n") },
		says:  "a single line of text",
		typ:   schemaType{Type: "string", Format: "password"},
	}
}

func webAddress() kind[string] {
	return kind[string]{
		parse: func(s string) (string, bool) {
			u, err := url.Parse(s)
			ok := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
				u.User == nil && u.RawQuery == "" && u.Fragment == "" && portInRange(u.Port())
			return strings.TrimRight(s, "/"), ok
		},
		says: "a URL that begins with http:// or https://, with a host and without a user, a query or a fragment",
		typ:  schemaType{Type: "string", Format: "uri"},
	}
}

func portInRange(port string) bool {
	if port == "" {
		return true
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 1 && n <= 65535
}

func proxyAddress() kind[Secret] {
	return kind[Secret]{
		parse: func(s string) (Secret, bool) {
			full := s
			if !strings.Contains(s, "://") {
				full = "http://" + s // host:port alone is customary
			}
			u, err := url.Parse(full)
			if err != nil || u.Hostname() == "" || !portInRange(u.Port()) {
				return "", false
			}
			return Secret(s), slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme)
		},
		says: "the URL of a proxy, like http://proxy.example:3128 or socks5://proxy.example:1080",
		typ:  schemaType{Type: "string", Format: "password"},
	}
}

// fromEnvironment is the word for the proxies of HTTPS_PROXY and NO_PROXY.
const fromEnvironment = "environment"

// brokerProxy reads the URL of a proxy, or the word for those of the other requests.
func brokerProxy() kind[BrokerProxy] {
	address := proxyAddress()
	return kind[BrokerProxy]{
		parse: func(s string) (BrokerProxy, bool) {
			if strings.EqualFold(s, fromEnvironment) {
				return BrokerProxy{Environment: true}, true
			}
			proxy, ok := address.parse(s)
			return BrokerProxy{URL: proxy}, ok && strings.Contains(s, ":") // else a misspelled word would be a host
		},
		says: address.says + ", or " + fromEnvironment,
		typ:  address.typ,
	}
}

func boolean() kind[bool] {
	return kind[bool]{
		parse: parseBool,
		says:  "true or false",
		typ:   schemaType{Type: "boolean"},
	}
}

// parseBool takes the spellings of YAML and of the Python connectors' settings.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1", "t", "y":
		return true, true
	case "false", "no", "off", "0", "f", "n":
		return false, true
	}
	return false, false
}

// optionalBoolean tells "not set" from "false".
func optionalBoolean() kind[*bool] {
	return kind[*bool]{
		parse: func(s string) (*bool, bool) {
			v, ok := parseBool(s)
			return &v, ok
		},
		says: "true or false",
		typ:  schemaType{Type: "boolean"},
	}
}

// oneOf reads one of values, whatever its case. tidy, which may be nil, normalises the lower-case text first.
func oneOf[T ~string](tidy func(string) string, values ...T) kind[T] {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	return kind[T]{
		parse: func(s string) (T, bool) {
			s = strings.ToLower(s)
			if tidy != nil {
				s = tidy(s)
			}
			for _, v := range values {
				if s == string(v) {
					return v, true
				}
			}
			return "", false
		},
		says: "one of " + strings.Join(names, ", "),
		typ:  schemaType{Type: "string", Enum: names},
	}
}

// constantText accepts a single text.
func constantText(want string) kind[string] {
	return kind[string]{
		parse: func(s string) (string, bool) { return want, strings.EqualFold(s, want) },
		says:  want,
		typ:   schemaType{Type: "string", Const: want},
	}
}

func wholeNumber(low, high int) kind[int] {
	lowest, highest := float64(low), float64(high)
	return kind[int]{
		parse: func(s string) (int, bool) {
			n, err := strconv.Atoi(s)
			return n, err == nil && n >= low && n <= high
		},
		says: fmt.Sprintf("a whole number from %d to %d", low, high),
		typ:  schemaType{Type: "integer", Minimum: &lowest, Maximum: &highest},
	}
}

// nonNegativeNumber reads a number of at least zero.
func nonNegativeNumber() kind[float64] {
	zero := 0.0
	return kind[float64]{
		parse: func(s string) (float64, bool) {
			n, ok := parseNumber(s)
			return n, ok && n >= 0
		},
		says: "a number that is not negative",
		typ:  schemaType{Type: "number", Minimum: &zero},
	}
}

// positiveNumber reads a number above zero.
func positiveNumber() kind[float64] {
	zero := 0.0
	return kind[float64]{
		parse: func(s string) (float64, bool) {
			n, ok := parseNumber(s)
			return n, ok && n > 0
		},
		says: "a number above 0",
		typ:  schemaType{Type: "number", ExclusiveMinimum: &zero},
	}
}

func parseNumber(s string) (float64, bool) {
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
}

func commaSeparated() kind[[]string] {
	return kind[[]string]{
		parse: func(s string) ([]string, bool) {
			var parts []string
			for part := range strings.SplitSeq(s, ",") {
				if part = strings.TrimSpace(part); part != "" {
					parts = append(parts, part)
				}
			}
			return parts, len(parts) > 0 && !strings.ContainsAny(s, "\x00\r\n")
		},
		says: "one or more names, separated by commas",
		typ:  schemaType{Type: "array"},
	}
}

// connectorID reads a UUID, or what OpenCTI takes in place of one: it becomes part of a queue's name and of the address of that queue.
// It stays as it is written, for that is how OpenCTI finds the state again.
func connectorID() kind[string] {
	plain := regexp.MustCompile(`^[A-Za-z0-9._:@+=~-]{1,200}$`)
	return kind[string]{
		parse: func(s string) (string, bool) { return s, plain.MatchString(s) },
		says:  "a UUID, like 2b6a4f0e-6b5d-4c55-9d6e-0f6f7c3b1a20 (make one with uuidgen)",
		typ:   schemaType{Type: "string", Format: "uuid"},
	}
}

// isUUID tells the usual form alone: the library also takes braces, a urn: prefix and no dashes.
func isUUID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && len(s) == len(id.String())
}
