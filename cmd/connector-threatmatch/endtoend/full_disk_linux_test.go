package endtoend

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// fullDisk lets an index that begins in a folder meet a disk that is full, until there is room.
func fullDisk(t *testing.T, dir string) (makeRoom func()) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	unfinished := filepath.Join(dir, "index.json.tmp")
	must(t, os.Symlink("/dev/full", unfinished))
	return func() { must(t, os.Remove(unfinished)) }
}

func TestAConnectorThatFindsItsDiskFullGoesOnOnceThereIsRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeRoom := fullDisk(t, dir)
	synctest.Test(t, func(t *testing.T) {
		var data threatmatchtest.Folder
		must(t, data.Put("profiles", 1, shopDay, []byte(`[{"type":"malware","id":"`+malwareID(1)+`","spec_version":"2.1","name":"a","is_family":false}]`)))
		w := newWorkshop(t, dir, &data)
		w.start()
		if n := w.pass(35 * time.Minute); n > 0 {
			t.Errorf("%d messages came while nothing could be remembered", n)
		}
		errors := w.logs.FilterLevelExact(zapcore.ErrorLevel)
		if told := errors.FilterMessageSnippet("make some").Len(); told != 4 || errors.Len() != told {
			t.Errorf("it was told %d times in half an hour, of %d errors: %v", told, errors.Len(), errors.All())
		}
		makeRoom()
		w.pass(2 * time.Minute)
		if missing := w.lacks(malwareID(1)); len(missing) > 0 {
			t.Errorf("OpenCTI lacks %q", missing)
		}
		w.stop()
		if _, err := os.Stat(filepath.Join(dir, "index.json")); err != nil {
			t.Errorf("the folder holds no index: %v", err)
		}
	})
}

func TestAConnectorWhoseDiskIsFullIsNotReady(t *testing.T) {
	t.Parallel()
	var makeRoom func()
	s := serve(t, threatmatchtest.Config{}, func(w *world) { makeRoom = fullDisk(t, w.stateDir) })
	s.await(t, "/readyz", func(status int, body string) bool {
		return status == http.StatusServiceUnavailable && strings.Contains(body, "CONNECTOR_STATE_DIR")
	})
	if status, body, err := ask(s.page, "/livez"); err != nil || status != http.StatusOK {
		t.Errorf("/livez: %d %s %v", status, body, err)
	}
	makeRoom()
	s.await(t, "/readyz", func(status int, _ string) bool { return status == http.StatusOK })
	s.stop()
	if err := <-s.ended; err != nil {
		t.Errorf("the connector ended with %v", err)
	}
}

func TestARunThatFindsTheDiskFullFailsBeforeItBegins(t *testing.T) {
	t.Parallel()
	data := someData()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: data}})
	makeRoom := fullDisk(t, w.stateDir)
	if said := w.run(exitRunFailed).output(); !strings.Contains(said, "make room") {
		t.Errorf("it ended with %s", said)
	}
	if n := len(w.take()); n > 0 {
		t.Errorf("%d messages were sent", n)
	}
	makeRoom()
	w.run(exitOK)
	w.take()
	w.checkWhole(data)
}
