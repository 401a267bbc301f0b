package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestWhatBundlesAsFilesNeedIsAskedForTogether(t *testing.T) {
	const access, secret = "access-nobody-may-see", "secret-nobody-may-see"
	for name, tt := range map[string]struct {
		changes map[string]string
		wrong   string
		warning string
	}{
		"a folder":                  {map[string]string{"CONNECTOR_SEND_TO_DIRECTORY": "true", directoryPath: "/somewhere"}, "", ""},
		"a folder without a path":   {map[string]string{"CONNECTOR_SEND_TO_DIRECTORY": "true"}, directoryPath + ": is required with CONNECTOR_SEND_TO_DIRECTORY=true", ""},
		"a path alone":              {map[string]string{directoryPath: "/somewhere"}, "", directoryPath + " is set, but CONNECTOR_SEND_TO_DIRECTORY is not true"},
		"a bucket by name":          {map[string]string{"CONNECTOR_SEND_TO_S3": "true", "CONNECTOR_SEND_TO_S3_BUCKET": "b"}, "", ""},
		"a bucket alone":            {map[string]string{"CONNECTOR_SEND_TO_S3_BUCKET": "b"}, "", "CONNECTOR_SEND_TO_S3_BUCKET is set, but CONNECTOR_SEND_TO_S3 is not true"},
		"a bucket":                  {map[string]string{"CONNECTOR_SEND_TO_S3": "true"}, "", ""},
		"keys":                      {map[string]string{"CONNECTOR_SEND_TO_S3": "true", "S3_ACCESS_KEY": access, "S3_SECRET_KEY": secret}, "", ""},
		"an access key alone":       {map[string]string{"S3_ACCESS_KEY": access}, "S3_ACCESS_KEY and S3_SECRET_KEY: set both", ""},
		"a secret key alone":        {map[string]string{"S3_SECRET_KEY": secret}, "S3_ACCESS_KEY and S3_SECRET_KEY: set both", ""},
		"keys and a role":           {map[string]string{"S3_ACCESS_KEY": access, "S3_SECRET_KEY": secret, "S3_USE_AWS_ROLE": "true"}, "S3_USE_AWS_ROLE", ""},
		"a role":                    {map[string]string{"CONNECTOR_SEND_TO_S3": "true", "S3_USE_AWS_ROLE": "true"}, "", ""},
		"in clear text, elsewhere":  {map[string]string{"CONNECTOR_SEND_TO_S3": "true", "S3_ENDPOINT": "minio", "S3_USE_SSL": "false"}, "", "S3_USE_SSL=false"},
		"in clear text, by itself":  {map[string]string{"CONNECTOR_SEND_TO_S3": "true", "S3_ENDPOINT": "::1", "S3_USE_SSL": "false"}, "", ""},
		"in clear text, though off": {map[string]string{"S3_ENDPOINT": "minio", "S3_USE_SSL": "false"}, "", ""},
	} {
		cfg, warnings, err := Load("", false, configtest.Environ(tt.changes))
		if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%s: %v", name, err)
		}
		if (len(warnings) == 0) != (tt.warning == "") || len(warnings) > 0 && !strings.HasPrefix(string(warnings[0]), tt.warning) {
			t.Errorf("%s: warnings %q", name, warnings)
		}
		if shown := fmt.Sprint(cfg, err, warnings); strings.Contains(shown, access) || strings.Contains(shown, secret) {
			t.Errorf("%s: a key is shown in %s", name, shown)
		}
	}
}
