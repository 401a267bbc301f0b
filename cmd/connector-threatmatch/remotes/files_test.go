package remotes

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/emit/files"
	"github.com/opencti-connectors/threatmatch/emit/filestest"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
)

func TestTheSettingsOverrideWhatThePlatformTellsOfItsStorage(t *testing.T) {
	told := opencti.Storage{Endpoint: "minio", Port: 9000, Bucket: "opencti-bucket", Region: "us-east-1", AccessKey: "its-key", SecretKey: "its-secret"}
	own := map[string]string{"S3_ENDPOINT": "minio", "CONNECTOR_SEND_TO_S3_BUCKET": "b", "S3_ACCESS_KEY": "my-key", "S3_SECRET_KEY": "my-secret"}
	with := func(base map[string]string, pairs ...string) map[string]string {
		all := maps.Clone(base)
		for pair := range slices.Chunk(pairs, 2) {
			all[pair[0]] = pair[1]
		}
		return all
	}
	whole := with(own, "S3_PORT", "443", "S3_USE_SSL", "true", "S3_BUCKET_REGION", "eu-west-3")
	for name, tt := range map[string]struct {
		changes map[string]string
		told    opencti.Storage
		want    files.BucketConfig
		wrong   string
		asks    bool
		without bool // it does without an answer
	}{
		"all of the platform": {nil, told, files.BucketConfig{Endpoint: "minio", Port: 9000, Region: "us-east-1", Bucket: "opencti-bucket", AccessKey: "its-key", SecretKey: "its-secret"}, "", true, false},
		"another server": {map[string]string{"S3_ENDPOINT": "s3.amazonaws.com"}, told, files.BucketConfig{Endpoint: "s3.amazonaws.com", Secure: true, Bucket: "opencti-bucket", AccessKey: "its-key", SecretKey: "its-secret"},
			"", true, false},
		"its server, and all but how to reach it": {with(own, "S3_ENDPOINT", "MinIO"), told,
			files.BucketConfig{Endpoint: "minio", Port: 9000, Region: "us-east-1", Bucket: "b", AccessKey: "my-key", SecretKey: "my-secret"}, "", true, true},
		"its server, at another port": {with(own, "S3_PORT", "9001"), told,
			files.BucketConfig{Endpoint: "minio", Port: 9001, Region: "us-east-1", Bucket: "b", AccessKey: "my-key", SecretKey: "my-secret"}, "", true, true},
		"its server, but it does not answer": {own, opencti.Storage{}, files.BucketConfig{Endpoint: "minio", Secure: true, Bucket: "b", AccessKey: "my-key", SecretKey: "my-secret"}, "", true, true},
		"all of a server":                    {whole, told, files.BucketConfig{Endpoint: "minio", Port: 443, Secure: true, Region: "eu-west-3", Bucket: "b", AccessKey: "my-key", SecretKey: "my-secret"}, "", false, true},
		"all but a port":                     {with(whole, "S3_PORT", ""), told, files.BucketConfig{Endpoint: "minio", Port: 9000, Secure: true, Region: "eu-west-3", Bucket: "b", AccessKey: "my-key", SecretKey: "my-secret"}, "", true, true},
		"all but TLS":                        {with(whole, "S3_USE_SSL", ""), told, files.BucketConfig{Endpoint: "minio", Port: 443, Region: "eu-west-3", Bucket: "b", AccessKey: "my-key", SecretKey: "my-secret"}, "", true, true},
		"all but a region":                   {with(whole, "S3_BUCKET_REGION", ""), told, files.BucketConfig{Endpoint: "minio", Port: 443, Secure: true, Region: "us-east-1", Bucket: "b", AccessKey: "my-key", SecretKey: "my-secret"}, "", true, true},
		"all but a bucket":                   {with(whole, "CONNECTOR_SEND_TO_S3_BUCKET", ""), told, files.BucketConfig{Endpoint: "minio", Port: 443, Secure: true, Region: "eu-west-3", Bucket: "opencti-bucket", AccessKey: "my-key", SecretKey: "my-secret"}, "", true, false},
		"all but keys":                       {with(whole, "S3_ACCESS_KEY", "", "S3_SECRET_KEY", ""), told, files.BucketConfig{Endpoint: "minio", Port: 443, Secure: true, Region: "eu-west-3", Bucket: "b", AccessKey: "its-key", SecretKey: "its-secret"}, "", true, false},
		"all, with a role":                   {with(whole, "S3_ACCESS_KEY", "", "S3_SECRET_KEY", "", "S3_USE_AWS_ROLE", "true"), told, files.BucketConfig{Endpoint: "minio", Port: 443, Secure: true, Region: "eu-west-3", Bucket: "b"}, "", false, true},
		"a role":                             {map[string]string{"S3_USE_AWS_ROLE": "true"}, told, files.BucketConfig{Endpoint: "minio", Port: 9000, Region: "us-east-1", Bucket: "opencti-bucket"}, "", true, false},
		"a platform that is quiet":           {map[string]string{"S3_ENDPOINT": "s3.example", "CONNECTOR_SEND_TO_S3_BUCKET": "b"}, opencti.Storage{}, files.BucketConfig{Endpoint: "s3.example", Secure: true, Bucket: "b"}, "", true, false},
		"no server":                          {nil, opencti.Storage{}, files.BucketConfig{}, "S3_ENDPOINT", true, false},
		"no bucket":                          {map[string]string{"S3_ENDPOINT": "s3.example"}, opencti.Storage{}, files.BucketConfig{}, "CONNECTOR_SEND_TO_S3_BUCKET", true, false},
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
		if asks, without := AsksForStorage(cfg), DoesWithoutStorage(cfg); asks != tt.asks || without != tt.without {
			t.Errorf("%s: asks the platform %t, does without it %t", name, asks, without)
		}
	}
}

func TestNoFilesAreWrittenUnlessTheyAreWanted(t *testing.T) {
	cfg, keys := keyring(t, map[string]string{"CONNECTOR_SEND_TO_DIRECTORY_PATH": t.TempDir(), "S3_ENDPOINT": "s3"}, nil)
	if b, err := Bucket(cfg, keys, opencti.Storage{}, ""); b != nil || err != nil || Directory(cfg) != nil || AsksForStorage(cfg) {
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
