package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// askTimeout is below the time-out that the image gives the question.
const askTimeout = 8 * time.Second

// Ask returns what the connector that serves its status on this address of the machine says of its health, as an error when it is
// not well or does not answer.
func Ask(ctx context.Context, address string) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+dialled(address)+"/livez", nil)
	if err != nil {
		return "", fmt.Errorf("ask for health: %w", err)
	}
	transport := &http.Transport{DisableKeepAlives: true} // and no proxy
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("ask for health: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return "", fmt.Errorf("ask for health: %w", err)
	}
	if said = strings.TrimSpace(string(body)); resp.StatusCode != http.StatusOK {
		return "", errors.New(said)
	}
	return said, nil
}

// dialled is where to find what listens on an address: one of every interface is also on the loopback one.
func dialled(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1" // where it may be for IPv6 alone
		}
	}
	return net.JoinHostPort(host, port)
}
