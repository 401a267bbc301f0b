package opencti

import (
	"context"
	"errors"
	"fmt"
)

// Storage is the storage of S3 that the platform keeps its files in, and that connectors may write to. It is zero for a platform
// that does not tell.
type Storage struct {
	Endpoint  string
	Port      int
	UseSSL    bool
	Bucket    string
	Region    string
	AccessKey string
	SecretKey string
}

// String leaves the keys out.
func (s Storage) String() string {
	scheme := "http"
	if s.UseSSL {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s:%d/%s in %s", scheme, s.Endpoint, s.Port, s.Bucket, s.Region)
}

// GoString leaves the keys out.
func (s Storage) GoString() string { return s.String() }

// Storage tells where the platform's storage is, which is the same for all connectors; this one need not be registered. Releases
// before 7 do not tell, and neither do platforms that have no keys for it but a role of AWS: the schema promises keys, so that they
// fail over the question.
func (c *Client) Storage(ctx context.Context) (Storage, error) {
	own, err := ownStorage(ctx, c, c.connectorID)
	if err == nil && own.Connector != nil {
		return storageOf(own.Connector), nil
	}
	var others *anyStorageResponse
	if err == nil {
		others, err = anyStorage(ctx, c)
	}
	if tellsNoStorage(err) {
		return Storage{}, nil
	}
	if err != nil {
		return Storage{}, err
	}
	for _, other := range others.Connectors {
		if other != nil {
			return storageOf(other), nil
		}
	}
	return Storage{}, fmt.Errorf("call OpenCTI anyStorage: %w", ErrConnectorGone)
}

// tellsNoStorage reports whether the platform answered, and will answer the same whenever it is asked.
func tellsNoStorage(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Name != "" && !e.Temporary && !IsUnauthorized(err)
}

func storageOf(of *stored) Storage {
	if of.Config == nil {
		return Storage{}
	}
	s3 := of.Config.S3
	return Storage{
		Endpoint: s3.Endpoint, Port: s3.Port, UseSSL: s3.Use_ssl, Bucket: s3.Bucket_name, Region: s3.Bucket_region,
		AccessKey: s3.Access_key, SecretKey: s3.Secret_key,
	}
}
