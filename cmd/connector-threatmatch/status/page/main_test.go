package page

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/status/snapshot"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon are times for tests: nothing in them waits for a second.
var soon = times{look: 5 * time.Millisecond, repeat: 50 * time.Millisecond, write: 10 * time.Second}

// rig is a page on a real listener.
type rig struct {
	*httptest.Server
	page    *page
	refuse  atomic.Bool // every request
	refused atomic.Int64
	ending  chan struct{}
	mu      sync.Mutex
	shown   snapshot.Snapshot
}

// serve shows s.
func serve(t *testing.T, s snapshot.Snapshot, at times) *rig {
	t.Helper()
	r := &rig{ending: make(chan struct{}), shown: s}
	mux := http.NewServeMux()
	r.page = register(mux, r.read, r.ending, at)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, asked *http.Request) {
		if r.refuse.Load() {
			r.refused.Add(1)
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, asked)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *rig) read() snapshot.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown
}

func (r *rig) show(s snapshot.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown = s
}

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs from what is drawn; look at it, and write it anew with -update:\n%s", path, got)
	}
}
