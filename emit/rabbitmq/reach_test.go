package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
)

// A broker that cannot be reached is told of within fifteen seconds, and what waiting will not mend within five, whether or not there is
// something to publish.
func TestABrokerThatCannotBeReachedIsToldOfInTime(t *testing.T) {
	for name, tt := range map[string]struct {
		fault  func(r *rig, c *rabbitmq.Config)
		within time.Duration
		says   string
	}{
		"refused connections": {func(r *rig, _ *rabbitmq.Config) { refuse(t, r, true) }, 15 * time.Second, "MQ_HOST"},
		"refused password":    {func(_ *rig, c *rabbitmq.Config) { c.Connection.Password = "wrong" }, 5 * time.Second, "MQ_PASS"},
		"no such host": {func(_ *rig, c *rabbitmq.Config) {
			c.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, &net.DNSError{IsNotFound: true} }
		}, 5 * time.Second, "cannot be resolved"},
		"nobody answers": {func(_ *rig, c *rabbitmq.Config) {
			c.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		}, 15 * time.Second, "does not answer"},
	} {
		for _, idle := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, idle %t", name, idle), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					core, logs := observer.New(zap.ErrorLevel)
					r := newRig(t, func(r *rig, c *rabbitmq.Config) {
						c.Log = zap.New(core)
						tt.fault(r, c)
					})
					began := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
					defer cancel()
					if idle {
						r.publisher.Connect()
						<-ctx.Done()
					} else if err := r.publish(ctx, 1, 1); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("it is published: %v", err)
					}
					said := logs.All()
					if len(said) != 1 || !strings.Contains(said[0].Message, tt.says) || said[0].Time.Sub(began) > tt.within {
						t.Errorf("said after %s: %v", said[0].Time.Sub(began), said)
					}
				})
			})
		}
	}
}
