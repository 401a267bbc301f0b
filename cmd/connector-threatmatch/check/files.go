package check

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/emit/files"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// directory looks at the folder that bundles go to as files.
func (c *checker) directory(ctx context.Context) *part {
	p := &part{name: partDirectory}
	dir := c.cfg.Directory.Path
	p.must(ctx, "access", func(context.Context) (string, string, error) { return existingAccess(dir) })
	p.try(ctx, "free space", func(context.Context) (string, string, error) { return freeSpace(dir, files.DirectorySetting) })
	return p
}

// existingAccess tells whether a folder is there and can be written to, without writing to it.
func existingAccess(dir string) (string, string, error) {
	remedy := fmt.Sprintf("set %s to an existing folder that the connector's user (uid %d) may write to", files.DirectorySetting, os.Geteuid())
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", "", wrong(remedy+", or mount it: the connector makes none", "%s does not exist", dir)
	case err != nil:
		return "", "", wrong(remedy, "%s cannot be used: %v", dir, err)
	case !info.IsDir():
		return "", "", wrong(remedy, "%s is not a folder", dir)
	}
	if err := mayWrite(dir); err != nil {
		return "", "", wrong(remedy, "%s cannot be written to: %v", dir, err)
	}
	return dir + " can be written to", "", nil
}

// storageTold is what OpenCTI has told of its storage, or why it has not.
type storageTold struct {
	storage opencti.Storage
	err     error
}

// storageOf asks where the platform's storage is, if that matters.
func (l *openctiLook) storageOf(ctx context.Context) storageTold {
	if !remotes.AsksForStorage(l.cfg) {
		return storageTold{}
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	told, err := l.api.Storage(ctx)
	switch {
	case err == nil:
		l.secrets.Add(told.AccessKey)
		l.secrets.Add(told.SecretKey)
		return storageTold{storage: told}
	case errors.Is(err, opencti.ErrConnectorGone):
		err = &unseen{why: "known after the first start: OpenCTI tells it to a connector that registers"}
	case opencti.IsForbidden(err):
		err = &unseen{why: "not known: OpenCTI tells it to users with MODULES and CONNECTORAPI only"}
	default:
		err = &unseen{why: fmt.Sprintf("not known: %v", l.named(ctx, err))}
	}
	return storageTold{err: err}
}

// bucketLook is a look at the bucket that bundles go to as files.
type bucketLook struct {
	*checker
	place
	bucket *files.Bucket
}

func (c *checker) bucket(ctx context.Context, told <-chan storageTold) *part {
	p := &part{name: partBucket}
	look := &bucketLook{checker: c}
	storage := <-told // OpenCTI's checks end with the context
	p.must(ctx, "address", func(context.Context) (string, string, error) { return look.address(storage) })
	if look.bucket != nil {
		defer look.bucket.Close()
	}
	p.reach(ctx, look.place)
	p.must(ctx, "bucket", look.list)
	p.try(ctx, "writing", func(context.Context) (string, string, error) {
		return "", "", &unseen{why: notTried + "this command writes nothing; the first bundle shows it"}
	})
	return p
}

// address tells where the bucket is, and who says so.
func (l *bucketLook) address(told storageTold) (string, string, error) {
	if told.err != nil && !remotes.DoesWithoutStorage(l.cfg) {
		return "", "", told.err
	}
	where, err := remotes.BucketConfig(l.cfg, l.keys, told.storage)
	if err == nil {
		where.Version = l.version
		l.bucket, err = files.NewBucket(where)
	}
	if err == nil {
		l.place, err = placeOf(remotes.WayToS3(l.cfg, l.keys), l.bucket.URL(), files.Settings())
	}
	var known *files.LastingError
	switch {
	case errors.As(err, &known):
		return "", "", wrong(known.Remedy, "%s", known.Problem)
	case err != nil:
		return "", "", err
	}
	by, keys := "S3_ENDPOINT", "with keys"
	if l.cfg.S3.Endpoint == "" {
		by = "OpenCTI"
	}
	if where.AccessKey == "" {
		keys = "with what AWS gives to where this runs"
	}
	return fmt.Sprintf("%s at %s, as %s says, %s", l.bucket, l.bucket.URL(), by, keys), "", nil
}

// list tells whether the server takes the credentials and has the bucket.
func (l *bucketLook) list(ctx context.Context) (string, string, error) {
	err := l.bucket.Look(ctx)
	var known *files.LastingError
	switch {
	case err == nil:
		return "is there and can be listed", "", nil
	case files.IsDenied(err):
		return "", "", &unseen{why: "the server does not let it be listed, which the retention needs; whether it is there shows when it is written to"}
	case errors.As(err, &known):
		return "", "", wrong(known.Remedy, "%s", known.Problem)
	}
	return "", "", l.explain(ctx, remote.Diagnose(err, files.Settings()), err.Error(), "see whether the server is well")
}
