package orders

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// lookEvery is the time between two looks at a backfill.
const lookEvery = time.Second

// Client gives orders to the connector that runs with a state folder.
type Client struct {
	http *http.Client
	dir  string
}

// NewClient returns a client; it connects to nothing.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
		return conn, reach(dir, func(path string) (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
			return err
		})
	}
	// An order is taken once OpenCTI holds it, which can take a while.
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: 2 * time.Minute}, dir: dir}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Backfill gives an order. The error is ErrNobody, wraps ErrRefused, or tells what else keeps it from being taken.
func (c *Client) Backfill(ctx context.Context, order Backfill) (Progress, error) {
	body, err := json.Marshal(order)
	if err != nil {
		return Progress{}, fmt.Errorf("write the order: %w", err)
	}
	return c.ask(ctx, http.MethodPost, bytes.NewReader(body))
}

// Cancel ends the backfill under way.
func (c *Client) Cancel(ctx context.Context) (Progress, error) {
	return c.ask(ctx, http.MethodDelete, nil)
}

// Progress asks what has become of the backfill.
func (c *Client) Progress(ctx context.Context) (Progress, error) {
	return c.ask(ctx, http.MethodGet, nil)
}

// Watch shows a backfill until it is over, and returns the last it saw of it.
func (c *Client) Watch(ctx context.Context, show func(Progress)) (Progress, error) {
	for {
		p, err := c.Progress(ctx)
		if err != nil {
			return p, err
		}
		show(p)
		if p.Phase.Over() {
			return p, nil
		}
		if err := remote.Wait(ctx, lookEvery); err != nil {
			return p, err
		}
	}
}

func (c *Client) ask(ctx context.Context, method string, body io.Reader) (Progress, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://connector"+backfillPath, body)
	if err != nil {
		return Progress{}, fmt.Errorf("ask the connector: %w", err)
	}
	resp, err := c.http.Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EINVAL): // the last for a path that is too long
		return Progress{}, ErrNobody
	case errors.Is(err, fs.ErrPermission):
		return Progress{}, fmt.Errorf("ask the connector: run this as the user that the connector runs as: %w", err)
	case err != nil:
		return Progress{}, fmt.Errorf("ask the connector: %w", err)
	}
	defer resp.Body.Close()
	var said reply
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
		return Progress{}, fmt.Errorf("read the connector's answer: %w", err)
	}
	switch {
	case resp.StatusCode == http.StatusConflict:
		return said.Progress, &refusedError{said.Error}
	case said.Error != "":
		return said.Progress, errors.New(said.Error)
	}
	return said.Progress, nil
}

// refusedError is an [ErrRefused] in the connector's words.
type refusedError struct{ why string }

func (e *refusedError) Error() string { return e.why }

// Is lets errors.Is find what it is.
func (e *refusedError) Is(target error) bool { return target == ErrRefused }
