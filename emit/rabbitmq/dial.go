package rabbitmq

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// dial opens the socket, with TLS where asked for.
func dial(ctx context.Context, cfg Config, to Connection) (net.Conn, error) {
	socket, err := cfg.Dial(ctx, "tcp", to.address())
	if err != nil {
		return nil, fmt.Errorf("dial broker: %w", err)
	}
	if !to.UseSSL {
		return socket, nil
	}
	secured, err := remote.Secure(ctx, socket, to.Settings())
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("shake hands with broker %s over TLS: %w", to.address(), err)
	}
	return secured, nil
}

// Settings makes the TLS settings for one connection.
func (c Connection) Settings() *tls.Config {
	var settings *tls.Config
	if c.TLS != nil {
		settings = c.TLS().Clone()
	}
	if settings == nil {
		settings = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if settings.ServerName == "" {
		settings.ServerName = c.Host
	}
	return settings
}
