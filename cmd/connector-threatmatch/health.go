package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

type healthCommand struct{}

// healthPatience is below the time-out that the image gives the question.
const healthPatience = 8 * time.Second

// Run asks the connector that runs beside it how it is. Without metrics there is nobody to ask, and nothing wrong; the
// rest of the configuration is not its business, for it may be given to the connector in another way.
func (healthCommand) Run(ctx context.Context, cli *commandLine, con console) error {
	path := cli.Config
	if path == "" {
		path = configFile
	}
	cfg, _, _, err := readConfig(path, cli.Config != "", con.environ, time.Now())
	if err != nil {
		return err
	}
	if !cfg.Connector.ExposeMetrics {
		_, err := fmt.Fprintln(con.stdout, "CONNECTOR_EXPOSE_METRICS is off: health is not known")
		return err
	}
	said, err := askHealth(ctx, cfg.Connector.MetricsPort)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(con.stdout, said)
	return err
}

// askHealth returns what the connector says of itself, as an error when it is not well.
func askHealth(ctx context.Context, port int) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
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
