package endtoend

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// TestARunThatNeedsWhatTheDiskHasLostFails holds back two relations, damages one of them on disk while the connector runs, and then
// brings what both wait for.
func TestARunThatNeedsWhatTheDiskHasLostFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var data threatmatchtest.Folder
		stamps := fmt.Sprintf(`"spec_version":"2.1","created":%q,"modified":%[1]q`, shopDay.Format(time.RFC3339))
		relation := func(n int, name string) string {
			return fmt.Sprintf(`{"type":"relationship","id":"relationship--00000000-0000-4000-8000-%012d",%s,"relationship_type":"related-to","description":%q,"source_ref":%q,"target_ref":%q}`,
				n, stamps, name, malwareID(1), malwareID(2))
		}
		must(t, data.Put("profiles", 1, shopDay, fmt.Appendf(nil, `[{"type":"malware","id":%q,%s,"name":"a","is_family":false},%s,%s]`, malwareID(1), stamps, relation(3, "kept"), relation(4, "damaged"))))
		w := newWorkshop(t, dir, &data, "CONNECTOR_DURATION_PERIOD=PT2H")
		w.start()
		w.pass(time.Hour)
		damage(t, filepath.Join(w.cfg.Connector.StateDir, "waiting.log"), "damaged")
		must(t, data.Put("profiles", 2, time.Now(), fmt.Appendf(nil, `[{"type":"malware","id":%q,%s,"name":"b","is_family":false}]`, malwareID(2), stamps)))
		w.pass(90 * time.Minute) // in which a run begins, and is repeated
		for _, line := range []string{"the run failed", "were lost on disk"} {
			if told := w.logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet(line).Len(); told != 1 {
				t.Errorf("%q was told %d times: %v", line, told, w.logs.All())
			}
		}
		if missing := w.lacks(malwareID(2), "relationship--00000000-0000-4000-8000-000000000003"); len(missing) > 0 {
			t.Errorf("OpenCTI lacks %q", missing)
		}
		w.stop()
	})
}

// damage changes a text in a file.
func damage(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.ReadFile(path)
	must(t, err)
	at := bytes.Index(file, []byte(text))
	if at < 0 {
		t.Fatalf("%s does not hold %q", path, text)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("X"), int64(at))
	must(t, err)
	must(t, f.Close())
}
