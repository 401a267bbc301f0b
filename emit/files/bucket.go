package files

import (
	"cmp"
	"context"
	"crypto/md5" // what S3 makes an ETag of
	"encoding/hex"
	"errors"
	"fmt"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

const (
	// attempts is what the library is told: it repeats nothing. It would read the text again while its connection of before may still
	// do so, and how long to wait for a server is the caller's to say.
	attempts = 1
	// answerLimit bounds a call, and slowest, in bytes a second, the time for what is sent with it.
	answerLimit = 2 * time.Minute
	slowest     = 64 << 10
	// expiryLimit bounds a look for old files. What is left goes with the next.
	expiryLimit = time.Minute
)

// BucketConfig says where a bucket is, and who asks for it.
type BucketConfig struct {
	// Endpoint is the server's host name or address. A Port of 0 stands for that of the protocol.
	Endpoint string
	Port     int
	// Secure is to speak TLS.
	Secure bool
	// Region is the bucket's, "" to ask the server for it.
	Region string
	Bucket string
	// Folder is what the keys begin with, "" for nothing.
	Folder string
	// AccessKey and SecretKey sign the requests. Where both are empty, the credentials are those that AWS gives to where the program
	// runs: of the environment, or of the role of the pod, the container or the machine.
	AccessKey, SecretKey string
	// Connector is the name of the connector, of whose files Days are kept, all where it is 0.
	Connector string
	Days      int
	// Transport carries the requests, and is the bucket's alone.
	Transport *http.Transport
	// Version is the program's, for the server's log.
	Version string
}

// Bucket puts files into a bucket. It is safe for concurrent use.
type Bucket struct {
	client    *minio.Client
	name      string
	folder    string
	files     retention
	ordered   bool // lists keys in their order
	transport *http.Transport
	secrets   *remote.Redactor
	// regionGiven says that the region was not asked of the server.
	regionGiven bool
	// plain says that the server does not know how to refuse to overwrite.
	plain atomic.Bool
}

// NewBucket returns a bucket without asking the server for anything.
func NewBucket(cfg BucketConfig) (*Bucket, error) {
	if err := s3utils.CheckValidBucketName(cfg.Bucket); err != nil {
		return nil, &LastingError{Problem: fmt.Sprintf("%q is no name of a bucket", cfg.Bucket), Remedy: "correct " + BucketSetting, cause: err}
	}
	keys := credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, "")
	if cfg.AccessKey == "" && cfg.SecretKey == "" {
		keys = credentials.New(newRole(cfg.Transport))
	}
	client, err := minio.New(cfg.address(), &minio.Options{
		Creds: keys, Secure: cfg.Secure, Region: cfg.Region, Transport: cfg.Transport, MaxRetries: attempts,
	})
	if err != nil {
		return nil, &LastingError{Problem: fmt.Sprintf("%q is no address of a server", cfg.address()), Remedy: "correct " + settings.Address, cause: err}
	}
	client.SetAppInfo("connector-threatmatch", cmp.Or(cfg.Version, "devel"))
	return &Bucket{
		client: client, name: cfg.Bucket, folder: strings.Trim(cfg.Folder, "/"), transport: cfg.Transport,
		secrets: remote.NewRedactor(cfg.AccessKey, cfg.SecretKey),
		files:   retention{prefix: prefixOf(cfg.Connector), days: cfg.Days, now: time.Now},
		ordered: !s3utils.IsS3ExpressBucket(cfg.Bucket), regionGiven: cfg.Region != "",
	}, nil
}

func (cfg BucketConfig) address() string {
	if cfg.Port == 0 {
		if strings.Contains(cfg.Endpoint, ":") { // an IPv6 address
			return "[" + cfg.Endpoint + "]"
		}
		return cfg.Endpoint
	}
	return net.JoinHostPort(cfg.Endpoint, strconv.Itoa(cfg.Port))
}

// Close closes the connections that are not in use.
func (b *Bucket) Close() { b.transport.CloseIdleConnections() }

// String is the bucket with its folder, for log lines.
func (b *Bucket) String() string { return "s3://" + b.name + "/" + b.folder }

// URL is where the bucket's server is, for who wants to see whether it can be reached.
func (b *Bucket) URL() string { return b.client.EndpointURL().String() }

func (b *Bucket) key(name string) string {
	if b.folder == "" {
		return name
	}
	return b.folder + "/" + name
}

// Put writes a file that is given in parts, and returns when the server says that it has it. The text must not be changed later
// either: a connection that was given up may still read it.
func (b *Bucket) Put(ctx context.Context, name string, text ...[]byte) error {
	of := parts(text)
	ctx, cancel := context.WithTimeout(ctx, answerLimit+time.Duration(of.size()/slowest)*time.Second)
	defer cancel()
	err := b.put(ctx, b.key(name), of)
	// The library learns from a refusal which region it is, unless it was told.
	if inAnotherRegion(err) && !b.regionGiven || code(err) == minio.NotImplemented && !b.plain.Swap(true) {
		err = b.put(ctx, b.key(name), of)
	}
	doing := fmt.Sprintf("write %s in the bucket %s", b.key(name), b.name)
	if refused := code(err) == minio.PreconditionFailed; refused || IsTemporary(b.judge(ctx, doing, err)) && ctx.Err() == nil {
		err = b.arrived(ctx, b.key(name), of, err)
	}
	return b.judge(ctx, doing, err)
}

// arrived finds out whether what has the key is the text, and returns nil then. It is where an earlier attempt arrived and the answer
// did not; and a server that refuses to overwrite it may end the connection before all is sent, so that of the refusal nothing is heard.
func (b *Bucket) arrived(ctx context.Context, key string, text parts, failed error) error {
	there, err := b.holds(ctx, key, text)
	var known *LastingError
	switch refused := code(failed) == minio.PreconditionFailed; {
	case there:
		return nil
	case errors.As(err, &known), refused && err != nil:
		return err
	case refused:
		return errors.New("what had its name has gone meanwhile")
	}
	return failed
}

// put sends the text in one request, which a server refuses that has something under the key.
func (b *Bucket) put(ctx context.Context, key string, text parts) error {
	opts := minio.PutObjectOptions{ContentType: "application/json", DisableMultipart: true, SendContentMd5: true}
	if !b.plain.Load() {
		opts.SetMatchETagExcept("*")
	}
	_, err := b.client.PutObject(ctx, b.name, key, text.reader(), text.size(), opts)
	return err
}

// holds reports whether the server has the text under the key; where it has another it fails.
func (b *Bucket) holds(ctx context.Context, key string, text parts) (bool, error) {
	there, err := b.client.StatObject(ctx, b.name, key, minio.StatObjectOptions{})
	if code(err) == minio.NoSuchKey {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	sum := md5.New()
	for _, part := range text {
		sum.Write(part)
	}
	// What a server encrypts has an ETag of another making.
	isSum := len(there.ETag) == 2*md5.Size && there.Metadata.Get("X-Amz-Server-Side-Encryption") == ""
	if there.Size != text.size() || isSum && there.ETag != hex.EncodeToString(sum.Sum(nil)) {
		return false, taken(key)
	}
	return true, nil
}

// Expire removes the connector's files that are older than the days to keep them. It looks once an hour at most, and takes a minute at
// most. What it returns keeps nothing from being put.
func (b *Bucket) Expire(ctx context.Context) error {
	if b.files.days == 0 || !b.files.due() {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, expiryLimit)
	defer cancel()
	var done removals
	for object := range b.client.ListObjectsIter(limited, b.name, minio.ListObjectsOptions{Prefix: b.key(b.files.prefix), Recursive: true}) {
		if limited.Err() != nil {
			break
		}
		if object.Err != nil {
			done.note(b.judge(limited, "look for old files in the bucket "+b.name, object.Err))
			break
		}
		own, old := b.files.judge(strings.TrimPrefix(object.Key, b.key("")))
		if own && !old && b.ordered {
			break // as are all that follow
		}
		if old {
			err := b.client.RemoveObject(limited, b.name, object.Key, minio.RemoveObjectOptions{})
			done.note(b.judge(limited, "remove an old file from the bucket "+b.name, err))
		}
	}
	return done.err()
}

// Look asks for the connector's first file, which tells whether the server and the bucket are there and take the credentials, and
// changes nothing. That the rights suffice to write it cannot tell.
func (b *Bucket) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	for object := range b.client.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: b.key(b.files.prefix), MaxKeys: 1}) {
		return b.judge(ctx, "list the bucket "+b.name, object.Err)
	}
	return b.judge(ctx, "list the bucket "+b.name, ctx.Err())
}

// code is what the server calls the failure, "" where it is not the server's.
func code(err error) string {
	var said minio.ErrorResponse
	errors.As(err, &said)
	return said.Code
}
