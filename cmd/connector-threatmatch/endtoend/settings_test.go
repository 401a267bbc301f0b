package endtoend

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencti-connectors/threatmatch/fetch/threatmatchtest"
)

// TestTheConnectorWorksWithSecretsThatOnlyFilesHold has them as containers mount them, with the line break of an editor of Windows.
// [newWorld] looks for the custom header at every request to OpenCTI, and whether a secret shows.
func TestTheConnectorWorksWithSecretsThatOnlyFilesHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldConfig{api: threatmatchtest.Config{Data: someData()}})
	for _, name := range []string{"OPENCTI_TOKEN", "OPENCTI_CUSTOM_HEADERS", "THREATMATCH_CLIENT_SECRET"} {
		path := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(path, []byte(w.env[name]+"\r\n"), 0o400))
		delete(w.env, name)
		w.env[name+"_FILE"] = path
	}
	for _, args := range [][]string{{"check"}, {"run"}, {"check"}, {"state", "show"}, {"state", "reset", "--yes"}} {
		w.startCommand(args).wants(exitOK)
	}
	w.imported(someData())
}
