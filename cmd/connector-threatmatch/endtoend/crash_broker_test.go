package endtoend

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/emit/rabbitmqtest"
)

// restartNode kills the broker and starts it again, every now and then, at most so many times.
func restartNode(t *testing.T, node *rabbitmqtest.Node, seed uint64, every time.Duration, most int, done <-chan struct{}, log *history) {
	rng := rand.New(rand.NewPCG(seed, 2))
	for range most {
		select {
		case <-time.After(every/2 + rand.N(every)):
		case <-done:
			return
		}
		restartOnce(t, node, rng.IntN(3) > 0, log)
	}
}

// restartOnce kills the broker, or stops it in good order, and starts it again.
func restartOnce(t *testing.T, node *rabbitmqtest.Node, kill bool, log *history) {
	log.broker.Lock()
	defer log.broker.Unlock()
	log.add("broker restarts")
	if kill {
		if err := node.Kill(); err != nil {
			t.Errorf("kill the broker: %v", err)
		}
	} else if err := node.Stop(context.Background()); err != nil {
		t.Errorf("stop the broker: %v", err)
	}
	if err := node.Start(context.Background()); err != nil {
		t.Errorf("start the broker: %v", err)
	}
}
