package remotes

import (
	"strconv"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/files"
	"github.com/opencti-connectors/threatmatch/emit/filestest"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
)

func TestTheSettingsOverrideWhatThePlatformTellsOfItsStorage(t *testing.T) {
	told := opencti.Storage{Endpoint: "minio", Port: 9000, Bucket: "opencti-bucket", Region: "us-east-1", AccessKey: "its-key", SecretKey: "its-secret"}
	for name, tt := range map[string]struct {
		changes map[string]string
		told    opencti.Storage
		want    files.BucketConfig
		wrong   string
		needs   bool
	}{
		"all of the platform": {nil, told, files.BucketConfig{Endpoint: "minio", Port: 9000, Region: "us-east-1", Bucket: "opencti-bucket", AccessKey: "its-key", SecretKey: "its-secret"}, "", true},
		"another name of it":  {map[string]string{"S3_ENDPOINT": "outside"}, told, files.BucketConfig{Endpoint: "outside", Port: 9000, Region: "us-east-1", Bucket: "opencti-bucket", AccessKey: "its-key", SecretKey: "its-secret"}, "", true},
		"another server": {map[string]string{"S3_ENDPOINT": "s3.eu-west-3.amazonaws.com", "S3_PORT": "443", "S3_USE_SSL": "true", "S3_BUCKET_REGION": "eu-west-3", "CONNECTOR_SEND_TO_S3_BUCKET": "b", "S3_ACCESS_KEY": "my-key", "S3_SECRET_KEY": "my-secret"}, told,
			files.BucketConfig{Endpoint: "s3.eu-west-3.amazonaws.com", Port: 443, Secure: true, Region: "eu-west-3", Bucket: "b", AccessKey: "my-key", SecretKey: "my-secret"}, "", false},
		"a role":                   {map[string]string{"S3_USE_AWS_ROLE": "true"}, told, files.BucketConfig{Endpoint: "minio", Port: 9000, Region: "us-east-1", Bucket: "opencti-bucket"}, "", true},
		"a platform that is quiet": {map[string]string{"S3_ENDPOINT": "s3.example", "CONNECTOR_SEND_TO_S3_BUCKET": "b"}, opencti.Storage{}, files.BucketConfig{Endpoint: "s3.example", Secure: true, Bucket: "b"}, "", true},
		"no server":                {nil, opencti.Storage{}, files.BucketConfig{}, "S3_ENDPOINT", true},
		"no bucket":                {map[string]string{"S3_ENDPOINT": "s3.example"}, opencti.Storage{}, files.BucketConfig{}, "CONNECTOR_SEND_TO_S3_BUCKET", true},
	} {
		changes := map[string]string{"CONNECTOR_SEND_TO_S3": "true"}
		for k, v := range tt.changes {
			changes[k] = v
		}
		cfg, keys := keyring(t, changes, nil)
		got, err := BucketConfig(cfg, keys, tt.told)
		if (err == nil) != (tt.wrong == "") || err != nil && (files.IsTemporary(err) || !strings.Contains(err.Error(), tt.wrong)) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && got.Transport == nil {
			t.Errorf("%s: nothing carries the requests", name)
		}
		if got.Transport = nil; err == nil {
			tt.want.Folder, tt.want.Connector, tt.want.Days = "connectors", "ThreatMatch", 7
		}
		if got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
		if needs := NeedsStorage(cfg); needs != tt.needs {
			t.Errorf("%s: needs the platform: %t", name, needs)
		}
	}
}

func TestNoFilesAreWrittenUnlessTheyAreWanted(t *testing.T) {
	cfg, keys := keyring(t, map[string]string{"CONNECTOR_SEND_TO_DIRECTORY_PATH": t.TempDir(), "S3_ENDPOINT": "s3"}, nil)
	if b, err := Bucket(cfg, keys, opencti.Storage{}, ""); b != nil || err != nil || Directory(cfg) != nil || NeedsStorage(cfg) {
		t.Errorf("%v, %v, %v", b, err, Directory(cfg))
	}
}

func TestTheConfiguredStoresCanBeWrittenTo(t *testing.T) {
	s := filestest.Start(t)
	cfg, keys := keyring(t, map[string]string{
		"CONNECTOR_SEND_TO_DIRECTORY": "true", "CONNECTOR_SEND_TO_DIRECTORY_PATH": t.TempDir(),
		"CONNECTOR_SEND_TO_S3": "true", "CONNECTOR_SEND_TO_S3_BUCKET": filestest.Bucket, "S3_ENDPOINT": s.Host, "S3_PORT": strconv.Itoa(s.Port),
		"S3_USE_SSL": "false", "S3_ACCESS_KEY": filestest.AccessKey, "S3_SECRET_KEY": filestest.SecretKey,
		"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": s.Host,
	}, nil)
	b, err := Bucket(cfg, keys, opencti.Storage{}, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Put(t.Context(), "a.json", []byte("{}")); err != nil {
		t.Error(err)
	}
	if err := Directory(cfg).Put(t.Context(), "a.json", []byte("{}")); err != nil {
		t.Error(err)
	}
}
