package fetch

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatch"
	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
	"github.com/opencti-connectors/threatmatch/pipeline"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// corpus finds the folder of real intelligence that may stand beside the repository.
func corpus(t *testing.T) *threatmatchtest.Folder {
	t.Helper()
	dir := filepath.Join("..", "..", "shared", "data", "corpus")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no corpus beside the repository: %v", err)
	}
	folder, err := threatmatchtest.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestRealIntelligenceIsReadToTheLast(t *testing.T) {
	data := corpus(t)
	for _, inclusive := range []bool{false, true} {
		server := threatmatchtest.New(threatmatchtest.Config{Data: data, Inclusive: inclusive,
			NoGzip: true}) // most of the time under the race detector otherwise
		web := httptest.NewServer(server)
		defer web.Close()
		client, err := threatmatch.New(threatmatch.Config{URL: web.URL, Backoff: remote.Backoff{Min: time.Millisecond},
			ClientID: threatmatchtest.DefaultClientID, ClientSecret: threatmatchtest.DefaultClientSecret})
		if err != nil {
			t.Fatal(err)
		}
		defer client.CloseIdle()
		server.Fault(threatmatchtest.Rule{Path: "/api/*", From: 7, To: 9, Do: threatmatchtest.Reset()})
		for _, call := range []int{20, 90, 150, 210} { // the token has expired
			server.Fault(threatmatchtest.Rule{Path: "/api/*", From: call, To: call, Do: threatmatchtest.Unauthorized()})
		}
		for want, source := range map[int]pipeline.Source{
			172: Items(client, "profiles", Options{}), 52: Items(client, "alerts", Options{}), 4079: Indicators(client, Options{}),
		} {
			o := run(t.Context(), source, pipeline.Cursor{Since: time.Unix(0, 0)}, 0)
			different := map[string]bool{}
			for _, id := range o.items {
				different[id] = true
			}
			if o.err != nil || len(o.problems) > 0 || len(o.items) != want || len(different) != want {
				t.Errorf("%s: %d items, %d different, want %d; problems %v, error %v",
					source.Dataset(), len(o.items), len(different), want, o.problems, o.err)
			}
		}
	}
}
