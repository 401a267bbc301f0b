package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// cluster lets one simulated broker answer at three addresses, as a cluster does with a queue that outlives any of its nodes.
type cluster struct {
	*rig
	began time.Time

	mu     sync.Mutex
	down   map[string]bool // refuses
	silent map[string]bool // answers nothing
	tried  []string        // the addresses in the order in which they were dialled, with the second
	admits func(host string) bool
}

func newCluster(t *testing.T, adapt func(*rabbitmq.Config)) *cluster {
	c := newClusterWithout(t, func(_ *cluster, cfg *rabbitmq.Config) {
		if adapt != nil {
			adapt(cfg)
		}
	})
	c.declare()
	return c
}

// newClusterWithout makes one that has no queue yet.
func newClusterWithout(t *testing.T, adapt func(*cluster, *rabbitmq.Config)) *cluster {
	c := &cluster{down: map[string]bool{}, silent: map[string]bool{}, began: time.Now()}
	c.rig = newRig(t, func(r *rig, cfg *rabbitmq.Config) {
		cfg.Connection.Host, cfg.Connection.Port = "a", 1
		cfg.Connection.Others = []rabbitmq.Host{{Name: "b", Port: 2}, {Name: "::c", Port: 3}}
		cfg.Backoff = remote.Backoff{Min: time.Second, Max: time.Minute}
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) { return c.dial(ctx, network, addr) }
		adapt(c, cfg)
	})
	return c
}

func (c *cluster) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(addr)
	c.mu.Lock()
	c.tried = append(c.tried, fmt.Sprintf("%s@%d", host, int(time.Since(c.began).Seconds())))
	down, silent := c.down[host], c.silent[host]
	if c.admits != nil {
		c.broker.RefuseAuth(!c.admits(host))
	}
	c.mu.Unlock()
	switch {
	case silent:
		<-ctx.Done()
		return nil, ctx.Err()
	case down:
		return nil, fmt.Errorf("dial tcp %s: %w", addr, syscall.ECONNREFUSED)
	}
	return c.broker.Dial(network, addr)
}

func (c *cluster) dialled() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.tried, " ")
}

func (c *cluster) set(of map[string]bool, yes bool, hosts ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range hosts {
		of[h] = yes
	}
}

func TestALostHostIsFollowedByTheNextAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		c := newCluster(t, func(cfg *rabbitmq.Config) { cfg.Log = zap.New(core) })
		c.deliver(1, 10)
		time.Sleep(90 * time.Second)
		// Both are lost at once, with messages on the wire: what is unknown goes again, in its order.
		c.set(c.down, true, "a", "b")
		var once sync.Once
		c.onStored = func(b string) {
			if b == body(15) {
				once.Do(c.broker.Drop)
			}
		}
		c.deliver(11, 40)
		if got := c.dialled(); got != "a@0 b@90 ::c@90" {
			t.Errorf("dialled %s", got)
		}
		c.check(40)
		var last int
		seen := map[string]bool{}
		for _, b := range c.inQueue() {
			if !seen[b] {
				last++
			}
			if seen[b] = true; !seen[body(last)] {
				t.Fatalf("%s came before %d", b, last)
			}
		}
		var told []string
		for _, e := range logs.All() {
			told = append(told, fmt.Sprint(e.Level, " ", e.Message, " ", e.ContextMap()["broker"]))
		}
		if all := strings.Join(told, "\n"); len(told) != 2 || !strings.Contains(told[0], "@a:1 ") || !strings.Contains(told[1], "delivery goes on") || !strings.Contains(told[1], "@[::c]:3 ") {
			t.Errorf("told\n%s", all)
		}
	})
}

func TestAConnectionLostWhileIdleCountsForNoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.deliver(1, 5)
		c.broker.Drop()
		time.Sleep(time.Hour)
		c.set(c.down, true, "b", "::c")
		c.deliver(6, 10)
		if got := c.dialled(); got != "a@0 b@3600 ::c@3600 a@3600" {
			t.Errorf("dialled %s", got)
		}
	})
}

func TestARoundOfAllHostsIsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, alarms := observer.New(zap.ErrorLevel)
		var refreshed []string
		var c *cluster
		c = newCluster(t, func(cfg *rabbitmq.Config) {
			cfg.Alarms = zap.New(core)
			cfg.Refresh = func(context.Context) (rabbitmq.Connection, string, string, error) {
				tried := c.dialled()
				c.mu.Lock()
				defer c.mu.Unlock()
				refreshed = append(refreshed, tried)
				return cfg.Connection, exchange, key, nil
			}
		})
		c.set(c.down, true, "a", "b", "::c")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_ = c.publish(ctx, 1, 1)
		tried := strings.Fields(c.dialled())
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(tried) < 9 || len(tried) > 30 {
			t.Fatalf("dialled %v in a minute", tried)
		}
		for i := 0; i+2 < len(tried); i += 3 {
			at := strings.TrimPrefix(tried[i], "a@")
			if tried[i+1] != "b@"+at || tried[i+2] != "::c@"+at {
				t.Errorf("dialled %v", tried)
				break
			}
		}
		if len(refreshed) == 0 || len(strings.Fields(refreshed[0])) != 9 {
			t.Errorf("OpenCTI was asked first after %q", refreshed)
		}
		said := alarms.All()
		if len(said) == 0 {
			t.Fatal("nothing was said")
		}
		for _, host := range []string{"@a:1 ", "@b:2 ", "@[::c]:3 "} {
			if text := fmt.Sprint(said[0].ContextMap()["error"]); !strings.Contains(text, host) {
				t.Errorf("said of %s: %s", host, text)
			}
		}
	})
}

func TestAHostThatIsSwitchedOffIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, alarms := observer.New(zap.ErrorLevel)
		c := newCluster(t, func(cfg *rabbitmq.Config) { cfg.Alarms = zap.New(core) })
		c.set(c.silent, true, "a")
		c.publisher.Connect()
		if err := c.publisher.Reached(t.Context()); err != nil {
			t.Errorf("the broker passes for not reached: %v", err)
		}
		c.deliver(1, 5)
		if got := c.dialled(); got != "a@0 b@10" {
			t.Errorf("dialled %s", got)
		}
		if n := alarms.Len(); n > 0 {
			t.Errorf("said: %v", alarms.All())
		}
	})
}

// A cluster that takes something at every host and breaks off is not logged in to in a tight loop.
func TestHostsThatAllBreakOffAreNotTriedWithoutAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for n := 1; ctx.Err() == nil && n < 10_000; n++ {
			_ = c.publisher.Publish(ctx, []byte(body(n)), func(error) { c.broker.Drop() }, nil)
			_ = c.publisher.Flush(ctx, nil)
		}
		if n := len(strings.Fields(c.dialled())); n < 10 || n > 400 {
			t.Errorf("dialled %d times in a minute", n)
		}
	})
}

// A host that is off says nothing of a password that another one refuses, in whatever order they are tried.
func TestAHostThatIsOffHidesNoRefusal(t *testing.T) {
	const limit = time.Minute
	for name, off := range map[string]func(*cluster){
		"the first is off":       func(c *cluster) { c.set(c.down, true, "a") },
		"the last is off":        func(c *cluster) { c.set(c.down, true, "::c") },
		"the last says nothing":  func(c *cluster) { c.set(c.silent, true, "::c") },
		"the first says nothing": func(c *cluster) { c.set(c.silent, true, "a") },
		"all but one are off":    func(c *cluster) { c.set(c.down, true, "a", "::c") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, alarms := observer.New(zap.ErrorLevel)
				asked := 0
				c := newCluster(t, func(cfg *rabbitmq.Config) {
					cfg.Connection.Password, cfg.RefusedFor, cfg.Alarms = "wrong", limit, zap.New(core)
					cfg.Refresh = func(context.Context) (rabbitmq.Connection, string, string, error) {
						asked++
						return cfg.Connection, exchange, key, nil
					}
				})
				off(c)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				err := c.publisher.Publish(ctx, []byte(body(1)), nil, nil)
				took := time.Since(c.began)
				permanent := (*rabbitmq.PermanentError)(nil)
				if !errors.As(err, &permanent) || !strings.Contains(err.Error(), "MQ_PASS") || !strings.Contains(err.Error(), "not allowed") || took < limit || took > 3*limit/2 {
					t.Errorf("%v after %s", err, took)
				}
				if rounds := len(strings.Fields(c.dialled())) / 3; asked != rounds-1 {
					t.Errorf("OpenCTI was asked %d times in %d rounds", asked, rounds)
				}
				if said := alarms.All(); len(said) != 1 || !strings.Contains(said[0].Message, "MQ_PASS") {
					t.Errorf("said: %v", said)
				}
				if !c.publisher.Stats().Refused {
					t.Error("the refusal is not counted")
				}
			})
		})
	}
}

// A host that refuses is no reason to give up while another one lets the connector in, however that ends.
func TestAHostThatRefusesIsNoRefusalWhileAnotherLetsIn(t *testing.T) {
	for name, letsIn := range map[string]string{"the first": "a", "the last": "::c"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, func(cfg *rabbitmq.Config) { cfg.RefusedFor = time.Minute })
				c.onStored = func(string) { c.broker.Drop() } // before it is confirmed
				c.admits = func(host string) bool { return host == letsIn }
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				err := c.publish(ctx, 1, 1)
				if err == nil {
					err = c.publisher.Flush(ctx, nil)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v after %s", err, time.Since(c.began))
				}
			})
		})
	}
}

// What the cluster as a whole lacks is mended before another host is asked for it.
func TestAMissingQueueIsDeclaredBeforeAnotherHostIsTried(t *testing.T) {
	for name, lose := range map[string]func(*cluster){
		"its exchange": func(*cluster) {},
		"the queue":    func(c *cluster) { c.declare(); c.broker.DeleteQueue(queue) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClusterWithout(t, func(c *cluster, cfg *rabbitmq.Config) {
					cfg.Refresh = func(context.Context) (rabbitmq.Connection, string, string, error) {
						c.declare()
						return cfg.Connection, exchange, key, nil
					}
				})
				lose(c)
				c.deliver(1, 5)
				if s := c.publisher.Stats(); s.Refreshes != 1 || s.Attempts != 2 {
					t.Errorf("dialled %s, asked %d times", c.dialled(), s.Refreshes)
				}
			})
		})
	}
}

// The platform may name fewer hosts than before, of which none is the one that was to be next.
func TestAClusterMayShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterWithout(t, func(c *cluster, cfg *rabbitmq.Config) {
			cfg.Refresh = func(context.Context) (rabbitmq.Connection, string, string, error) {
				c.declare()
				one := cfg.Connection
				one.Others = nil
				return one, exchange, key, nil
			}
		})
		c.set(c.down, true, "a")
		time.AfterFunc(time.Second/4, func() { c.set(c.down, false, "a") })
		c.deliver(1, 5) // the second lacks the queue, and the third is gone with it
		c.check(5)
		if got := c.dialled(); !strings.HasPrefix(got, "a@0 b@0 a@") {
			t.Errorf("dialled %s", got)
		}
	})
}

func TestTheConnectionOfAListNamesAllOfIt(t *testing.T) {
	conn := rabbitmq.Connection{Host: "a", Port: 1, Others: []rabbitmq.Host{{Name: "::1", Port: 2}}, User: "u", Password: password, VHost: `a b/ü"`}
	if got, want := fmt.Sprintf("%v|%#v", conn, conn), `amqp://u@a:1,[::1]:2 (vhost "a b/ü\"")`; got != want+"|"+want {
		t.Errorf("it is %s", got)
	}
}
