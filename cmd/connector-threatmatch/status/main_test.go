package status

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
	"github.com/opencti-connectors/threatmatch/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var everyDataset = []string{fetch.ProfilesDataset, fetch.AlertsDataset, fetch.ReportsDataset, fetch.IndicatorsDataset}

func load(t *testing.T, changes map[string]string) config.Config {
	t.Helper()
	cfg, _, err := config.Load("", false, configtest.Environ(changes))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}
