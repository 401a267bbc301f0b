package connector

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/files"
)

// oddStore takes files once it is well again.
type oddStore struct {
	well    time.Time
	err     error
	names   []string // of each attempt
	expired int
}

func (s *oddStore) Put(_ context.Context, name string, _ ...[]byte) error {
	s.names = append(s.names, name)
	if time.Now().Before(s.well) {
		return s.err
	}
	return nil
}

func (s *oddStore) Expire(context.Context) error { s.expired++; return errors.New("may not list") }

func TestAStoreThatRecoversIsWaitedForAndOthersEndTheRun(t *testing.T) {
	full := errors.New("no space left on device")
	missing := &files.LastingError{Problem: "the folder does not exist", Remedy: "make it"}
	for name, tt := range map[string]struct {
		err   error
		lasts time.Duration
		fails bool
		most  time.Duration
	}{
		"well":                 {nil, 0, false, 0},
		"full for a minute":    {full, time.Minute, false, time.Minute + 30*time.Second},
		"full for an hour":     {full, time.Hour, true, filePatience + time.Second},
		"missing for a moment": {missing, time.Second, true, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var trouble atomic.Pointer[string]
			s := &oddStore{well: time.Now().Add(tt.lasts), err: tt.err}
			f := &fileDeposit{store: s, name: "the folder", names: files.NewNames("ThreatMatch"), trouble: &trouble, log: zap.NewNop()}
			began := time.Now()
			told := make(chan bool, 1)
			go func() { time.Sleep(30 * time.Second); told <- trouble.Load() != nil }()
			err := f.Put(t.Context(), emit.Bundle{Number: 1, Messages: []emit.Message{{ID: "tool--1", Object: []byte("{}")}}})
			took := time.Since(began)
			if tt.fails != (err != nil) || tt.fails && !errors.Is(err, tt.err) || took > tt.most {
				t.Errorf("%s: %v after %s", name, err, took)
			}
			if len(slices.Compact(s.names)) != 1 || tt.fails == (s.expired > 0) {
				t.Errorf("%s: names %v, expired %d times", name, s.names, s.expired)
			}
			if waits := <-told; waits != (took > 30*time.Second) {
				t.Errorf("%s: the run says that it waits: %t", name, waits)
			}
			if trouble.Load() != nil {
				t.Errorf("%s: the run waits after it", name)
			}
		})
	}
}

func TestTheIndexBelongsToWhereThingsGo(t *testing.T) {
	toOpenCTI := config.Connector{SendToQueue: true, QueueProtocol: config.QueueAMQP}
	through := func(change func(*config.Config)) string {
		cfg := config.Config{Connector: toOpenCTI}
		change(&cfg)
		return Identity(cfg).Destination
	}
	usual := through(func(*config.Config) {})
	if by := through(func(c *config.Config) { c.Connector.QueueProtocol = config.QueueAPI }); by != usual {
		t.Errorf("the queue is another one by the API: %s", by)
	}
	folder := through(func(c *config.Config) { c.Directory.On, c.Directory.Path = true, "/files" })
	if moved := through(func(c *config.Config) { c.Directory.On, c.Directory.Path = true, "/another" }); moved != folder {
		t.Errorf("a folder that was moved is another one: %s", moved)
	}
	seen := map[string]string{usual: "the queue"}
	for name, change := range map[string]func(*config.Config){
		"nowhere": func(c *config.Config) { c.Connector.SendToQueue = false },
		"workbenches": func(c *config.Config) {
			c.Connector.ValidateBeforeImport, c.Connector.ValidationMode = true, config.ValidationWorkbench
		},
		"drafts": func(c *config.Config) {
			c.Connector.ValidateBeforeImport, c.Connector.ValidationMode = true, config.ValidationDraft
		},
		"a folder, too": func(c *config.Config) { c.Directory.On = true },
		"a bucket, too": func(c *config.Config) { c.S3.On = true },
		"another one":   func(c *config.Config) { c.S3.On, c.S3.Bucket = true, "another" },
		"a folder":      func(c *config.Config) { c.Connector.SendToQueue, c.Directory.On = false, true },
	} {
		m := through(change)
		if other := seen[m]; other != "" {
			t.Errorf("%s and %s are both %s", name, other, m)
		}
		seen[m] = name
	}
}
