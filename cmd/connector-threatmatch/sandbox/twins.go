package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// twins are a simulated ThreatMatch, OpenCTI and (unless a real one is used) RabbitMQ on the loopback interface.
type twins struct {
	api      *threatmatchtest.Server
	platform *openctitest.Platform
	broker   *rabbitmqtest.Broker // nil when a real one is used
	arrived  *arrivals
	set      map[string]string // the settings with which a connector finds the twins
	begin    string            // the day from which ThreatMatch holds something
	level    config.LogLevel   // for log lines that suit whoever reads them
	closers  []func() error
}

// BuiltInMarkings are the ids of the TLP markings that every OpenCTI holds from its start.
func BuiltInMarkings() []string {
	return []string{
		"marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9",
		"marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da",
		"marking-definition--f88d31f6-486f-44da-b317-01333bde0b82",
		"marking-definition--826578e1-40ad-459f-bc73-ede076f81f37",
		"marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed",
	}
}

// twinShutdown bounds the end of the simulated servers: their clients have gone by then.
const twinShutdown = 5 * time.Second

// startTwins starts the simulators. brokerURL names a real broker, "" stands for the simulated one.
func startTwins(api threatmatchtest.Config, brokerURL string, keepMessages bool) (_ *twins, err error) {
	t := &twins{api: threatmatchtest.New(api), arrived: newArrivals(), level: config.LogWarn}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	var broker openctitest.Broker = openctitest.BrokerURL(brokerURL)
	if brokerURL == "" {
		t.broker, err = rabbitmqtest.Start(rabbitmqtest.Config{
			Discard: !keepMessages, OnMessage: func(m rabbitmqtest.Message) { t.arrived.add(m.Body) }})
		if err != nil {
			return t, fmt.Errorf("start simulated RabbitMQ: %w", err)
		}
		t.closers = append(t.closers, t.broker.Close)
		broker = t.broker
	}
	token := rand.Text()
	if t.platform, err = openctitest.New(openctitest.Config{Token: token, Broker: broker, Relations: relations.BuiltInMapping()}); err != nil {
		return t, fmt.Errorf("start simulated OpenCTI: %w", err)
	}
	if t.broker == nil {
		// It is somebody's broker, and the queues are the sandbox's own. The platform has gone by then, so that no connector
		// registers again.
		t.closers = append(t.closers, t.platform.Withdraw)
	}
	t.platform.Hold(BuiltInMarkings()...)
	t.arrived.held(BuiltInMarkings())
	platformURL, err := t.listen(t.platform)
	if err != nil {
		return t, fmt.Errorf("start simulated OpenCTI: %w", err)
	}
	apiURL, err := t.listen(t.api)
	if err != nil {
		return t, fmt.Errorf("start simulated ThreatMatch: %w", err)
	}
	stateDir, err := os.MkdirTemp("", "connector-threatmatch-sandbox-")
	if err != nil {
		return t, fmt.Errorf("make a folder for the state: %w", err)
	}
	t.closers = append(t.closers, func() error { return os.RemoveAll(stateDir) })
	t.set = map[string]string{
		"OPENCTI_URL": platformURL, "OPENCTI_TOKEN": token,
		"THREATMATCH_URL": apiURL, "THREATMATCH_CLIENT_ID": threatmatchtest.DefaultClientID,
		"THREATMATCH_CLIENT_SECRET": threatmatchtest.DefaultClientSecret,
		"CONNECTOR_ID":              uuid.NewString(), "CONNECTOR_STATE_DIR": stateDir, "CONNECTOR_RUN_AND_TERMINATE": "true",
	}
	return t, nil
}

// listen serves h on a free port until close.
func (t *twins) listen(h http.Handler) (address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: twinShutdown}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.closers = append(t.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), twinShutdown)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, server.Close())
		}
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return "http://" + l.Addr().String(), nil
}

// close ends all that was started, the last first.
func (t *twins) close() error {
	var errs []error
	for _, c := range slices.Backward(t.closers) {
		errs = append(errs, c())
	}
	t.closers = nil
	return errors.Join(errs...)
}

// decidesWhereTo says that a setting would have the sandbox send elsewhere than where it counts.
func decidesWhereTo(setting string) bool {
	return strings.HasPrefix(setting, "CONNECTOR_SEND_TO_") || strings.HasPrefix(setting, "CONNECTOR_VALIDAT")
}

// withoutEffect names the settings of the caller's environment that the sandbox leaves out.
func withoutEffect(own []string) []string {
	found := config.Recognised(own, "CONNECTOR_")
	maps.DeleteFunc(found, func(name, _ string) bool { return !decidesWhereTo(name) })
	return slices.Sorted(maps.Keys(found))
}

// environ is the environment in which a connector runs against the twins. What the caller's own environment says about
// how to import is kept; where to and with which secrets is not.
func (t *twins) environ(own []string) []string {
	// All that there is, at full speed, and log lines for a reader.
	soft := map[string]string{
		"THREATMATCH_IMPORT_FROM_DATE": t.begin, "THREATMATCH_RATE_LIMIT": "0",
		"CONNECTOR_LOG_LEVEL": string(t.level), "OPENCTI_JSON_LOGGING": "false",
	}
	maps.Copy(soft, config.Recognised(own, "THREATMATCH_", "CONNECTOR_"))
	maps.DeleteFunc(soft, func(name, _ string) bool { return decidesWhereTo(name) })
	maps.Copy(soft, t.set)
	var list []string
	for name, value := range soft {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}
