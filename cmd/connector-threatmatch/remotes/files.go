package remotes

import (
	"cmp"
	"strings"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/emit/files"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Directory is the folder that bundles go to as files, nil where the configuration wants none.
func Directory(cfg config.Config) *files.Directory {
	if !cfg.Directory.On {
		return nil
	}
	return files.NewDirectory(cfg.Directory.Path, cfg.Connector.Name, cfg.Directory.Days)
}

// Bucket is the bucket that bundles go to as files, nil where the configuration wants none: where the platform says its storage is,
// with what the configuration says instead. Its owner closes it. version is the program's.
func Bucket(cfg config.Config, keys *Keyring, told opencti.Storage, version string) (*files.Bucket, error) {
	if !cfg.S3.On {
		return nil, nil
	}
	where, err := BucketConfig(cfg, keys, told)
	if err != nil {
		return nil, err
	}
	where.Version = version
	return files.NewBucket(where)
}

// AsksForStorage reports whether the platform may have something to tell of the bucket that the configuration leaves open.
func AsksForStorage(cfg config.Config) bool {
	s3 := cfg.S3
	return s3.On && (!DoesWithoutStorage(cfg) || s3.Port == 0 || s3.UseSSL == nil || s3.Region == "")
}

// DoesWithoutStorage reports whether the bucket can be found, and its credentials, without the platform's word: a platform that does
// not answer is no reason to write nothing then.
func DoesWithoutStorage(cfg config.Config) bool {
	s3 := cfg.S3
	return s3.Endpoint != "" && s3.Bucket != "" && (s3.AccessKey != "" || s3.Role)
}

// BucketConfig puts together where the bucket is. The port, TLS and the region are those of the server that the platform tells of; of
// another one they say nothing.
func BucketConfig(cfg config.Config, keys *Keyring, told opencti.Storage) (files.BucketConfig, error) {
	s3, server := cfg.S3, told
	if s3.Endpoint != "" && !strings.EqualFold(s3.Endpoint, told.Endpoint) || told.Endpoint == "" {
		server = opencti.Storage{Endpoint: s3.Endpoint, UseSSL: true}
	}
	where := files.BucketConfig{
		Endpoint: server.Endpoint, Port: cmp.Or(s3.Port, server.Port), Secure: server.UseSSL,
		Region: cmp.Or(s3.Region, server.Region), Bucket: cmp.Or(s3.Bucket, told.Bucket), Folder: s3.Folder,
		AccessKey: told.AccessKey, SecretKey: told.SecretKey, Connector: cfg.Connector.Name, Days: s3.Days,
	}
	if s3.UseSSL != nil {
		where.Secure = *s3.UseSSL
	}
	switch {
	case s3.Role:
		where.AccessKey, where.SecretKey = "", ""
	case s3.AccessKey != "":
		where.AccessKey, where.SecretKey = s3.AccessKey.Reveal(), s3.SecretKey.Reveal()
	}
	switch {
	case where.Endpoint == "":
		return files.BucketConfig{}, &files.LastingError{Problem: "where the server of S3 is nobody says", Remedy: "set S3_ENDPOINT, for this OpenCTI does not tell (from release 7 on it may); S3_ACCESS_KEY, S3_SECRET_KEY and " + files.BucketSetting + " go with it"}
	case where.Bucket == "":
		return files.BucketConfig{}, &files.LastingError{Problem: "which bucket is meant nobody says", Remedy: "set " + files.BucketSetting + ", for this OpenCTI does not tell its own"}
	}
	where.Transport = remote.NewTransport(WayToS3(cfg, keys))
	return where, nil
}
