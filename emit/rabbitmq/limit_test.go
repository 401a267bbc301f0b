package rabbitmq_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

// sized is a message of a number with a body of so many bytes.
func sized(n, bytes int) string {
	head := body(n)
	return head + strings.Repeat(" ", max(0, bytes-len(head)))
}

// deliverSized hands bodies over and returns how many times each was confirmed and refused, by their place.
func deliverSized(t *testing.T, p *rabbitmq.Publisher, bodies []string) (confirmed, refused []int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	confirmed, refused = make([]int, len(bodies)), make([]int, len(bodies))
	told := make(chan func(), 2*len(bodies))
	for i, b := range bodies {
		err := p.Publish(ctx, []byte(b), func(refusal error) {
			told <- func() {
				var tooLarge *rabbitmq.TooLargeError
				switch {
				case refusal == nil:
					confirmed[i]++
				case errors.As(refusal, &tooLarge) && tooLarge.Bytes == len(b) && tooLarge.MostBytes() < len(b):
					refused[i]++
				default:
					t.Errorf("message %d of %d bytes was refused with %v", i, len(b), refusal)
				}
			}
		}, nil)
		if err != nil {
			t.Fatalf("publish: %v (%+v)", err, p.Stats())
		}
	}
	if err := p.Flush(ctx, nil); err != nil {
		t.Fatalf("flush: %v (%+v)", err, p.Stats())
	}
	close(told)
	for tell := range told {
		tell()
	}
	return confirmed, refused
}

// checkSized wants every body that fits to be in the queue, behind all that were handed over before it, and every other one to be
// refused, once each.
func checkSized(t *testing.T, bodies, queue []string, limit int, confirmed, refused []int) {
	t.Helper()
	at, last := 0, map[string]int{}
	for i, b := range queue {
		last[b] = i
	}
	for i, b := range bodies {
		if len(b) > limit {
			if _, there := last[b]; there || refused[i] != 1 || confirmed[i] != 0 {
				t.Errorf("message %d of %d bytes: in the queue %v, refused %d times, confirmed %d times", i, len(b), there, refused[i], confirmed[i])
			}
			continue
		}
		place, there := last[b]
		if !there || refused[i] != 0 || confirmed[i] != 1 {
			t.Errorf("message %d of %d bytes: in the queue %v, refused %d times, confirmed %d times", i, len(b), there, refused[i], confirmed[i])
		}
		if there && place < at {
			t.Errorf("message %d lies before one that was handed over earlier", i)
		}
		at = max(at, place)
	}
}

// mixed are bodies of which every few are larger than a limit, many of one size.
func mixed(count, limit int) []string {
	random := rand.New(rand.NewPCG(3, 5))
	sizes := []int{0, 100, limit, limit + 1, 2 * limit, 50, 60, 70}
	bodies := make([]string, count)
	for i := range bodies {
		bodies[i] = sized(i, sizes[random.IntN(len(sizes))])
	}
	return bodies
}

func TestExactlyTheMessagesBeyondTheBrokersLimitAreRefused(t *testing.T) {
	const limit = 5000
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		r := newRigWith(t, rabbitmqtest.Config{InMemory: true, MaxMessageSize: limit}, func(_ *rig, c *rabbitmq.Config) {
			c.Window, c.Log, c.Alarms = 40, zap.New(core), zap.New(core)
		})
		r.declare()
		bodies := mixed(300, limit)
		began := time.Now()
		confirmed, refused := deliverSized(t, r.publisher, bodies)
		checkSized(t, bodies, r.inQueue(), limit, confirmed, refused)
		s := r.publisher.Stats()
		if s.Sessions != 2 {
			t.Errorf("it took %d sessions to learn what the broker takes", s.Sessions)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it waited for %v although nothing was wrong with the broker", took)
		}
		said := logs.All()
		if len(said) != 1 || !strings.Contains(said[0].Message, "CONNECTOR_MAX_MESSAGE_BYTES") || said[0].ContextMap()["takes_bytes"] != int64(limit) {
			t.Errorf("the log says %v", said)
		}
	})
}

// TestALargeMessageThatTheBrokerDoesNotNameIsFound lets a broker close the channel without a word on sizes.
func TestALargeMessageThatTheBrokerDoesNotNameIsFound(t *testing.T) {
	const limit = 100_000
	synctest.Test(t, func(t *testing.T) {
		r := newRigWith(t, rabbitmqtest.Config{InMemory: true, MaxMessageSize: limit, NamesNoSizes: true}, func(_ *rig, c *rabbitmq.Config) { c.Window = 20 })
		r.declare()
		var bodies []string
		for i := range 100 {
			bodies = append(bodies, sized(i, []int{40, 300, limit, 80}[i%4]))
		}
		for _, i := range []int{50, 53, 77} {
			bodies[i] = sized(i, limit+20_000)
		}
		confirmed, refused := deliverSized(t, r.publisher, bodies)
		checkSized(t, bodies, r.inQueue(), limit, confirmed, refused)
		if s := r.publisher.Stats(); s.Sessions > 6 || s.TooLarge != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// refusesWhatIsTooLarge holds RabbitMQ itself to it, whose limit is 500,000 bytes.
func (n nodeRig) refusesWhatIsTooLarge(t *testing.T) {
	const limit = 500_000
	n.declare(t, nil)
	p, _ := n.publisher(t, func(c *rabbitmq.Config) { c.Window = 60 })
	bodies := mixed(400, limit)
	confirmed, refused := deliverSized(t, p, bodies)
	var inQueue []string
	n.drain(t, func(body string) { inQueue = append(inQueue, body) })
	checkSized(t, bodies, inQueue, limit, confirmed, refused)
	if s := p.Stats(); s.Sessions != 2 {
		t.Errorf("it took %d sessions to learn what the broker takes", s.Sessions)
	}
	if !slices.Contains(refused, 1) {
		t.Error("nothing was too large")
	}
}
