package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// askTimeout is below the time-out that the image gives the question.
const askTimeout = 8 * time.Second

// Ask returns what the connector that serves on this port of the machine says of its health, as an error when it is not
// well or does not answer.
func Ask(ctx context.Context, port int) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/healthz", port), nil)
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
