package connector

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/files"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// deposits are what gets the bundles of a run whole.
type deposits struct {
	list  []emit.Deposit
	files []*fileDeposit // those of them that hold files
	close func()
	// trouble names the one that a bundle cannot be put into at the moment; nil where none keeps the run waiting.
	trouble atomic.Pointer[string]
}

// waitsFor names what the run waits for, "" for nothing.
func (d *deposits) waitsFor() string {
	if name := d.trouble.Load(); name != nil {
		return *name
	}
	return ""
}

// tend does for a run that had nothing to put what one does that had: old files go, and a place that is not there is told of.
func (d *deposits) tend(ctx context.Context) {
	for _, f := range d.files {
		f.expire(ctx, "files could not be looked after, though none had to be written this time; the next run may need their place")
	}
}

// newDeposits returns the deposits of a run. Where OpenCTI has to tell where its bucket is it is asked.
func (p *program) newDeposits(ctx context.Context, applicant string, books *emit.Books) (*deposits, error) {
	d := &deposits{close: func() {}}
	if p.cfg.Connector.Uploads() {
		d.list = append(d.list, emit.NewWorkbench(p.status.WatchPlatform(p.platform), books, p.log))
	}
	add := func(name string, kind files.Kind, store fileStore) {
		f := &fileDeposit{store: store, name: name, names: p.fileNames, trouble: &d.trouble, log: p.log, document: p.document(kind, applicant)}
		d.list, d.files = append(d.list, f), append(d.files, f)
	}
	if folder := remotes.Directory(p.cfg); folder != nil {
		add("the folder "+p.cfg.Directory.Path, files.InDirectory, folder)
	}
	if !p.cfg.S3.On {
		return d, nil
	}
	var told opencti.Storage
	if remotes.AsksForStorage(p.cfg) {
		var err error
		switch told, err = p.platform.Storage(ctx); {
		case err == nil:
		case !remotes.DoesWithoutStorage(p.cfg) || ctx.Err() != nil:
			return nil, fmt.Errorf("ask OpenCTI for its bucket: %w", err)
		default:
			p.log.Info("OpenCTI does not tell of its storage; the bucket is looked for where the settings say", zap.Error(err))
		}
	}
	bucket, err := remotes.Bucket(p.cfg, p.keys, told, p.options.Version)
	if err != nil {
		return nil, fmt.Errorf("set up the bucket: %w", err)
	}
	d.close = bucket.Close
	add("the bucket "+bucket.String(), files.InBucket, bucket)
	return d, nil
}

// document is what stands around a bundle in a file.
func (p *program) document(kind files.Kind, applicant string) files.Document {
	c := p.cfg.Connector
	return files.Document{Kind: kind, ApplicantID: applicant, Connector: files.Connector{
		ID: c.ID, Name: c.Name, Type: c.Type, Scope: c.Scope, ValidateBeforeImport: c.ValidateBeforeImport,
	}}
}

// fileStore is where bundles are put as files.
type fileStore interface {
	Put(ctx context.Context, name string, text ...[]byte) error
	// Expire removes what is older than the retention.
	Expire(ctx context.Context) error
}

// filePatience is how long a failure that may pass keeps a run waiting. After it the run fails where it was, and is repeated.
const filePatience = 2 * time.Minute

// fileDeposit puts bundles as files.
type fileDeposit struct {
	store    fileStore
	name     string
	names    *files.Names
	document files.Document
	trouble  *atomic.Pointer[string]
	log      *zap.Logger
}

// Put puts a bundle into a file of its own.
func (f *fileDeposit) Put(ctx context.Context, b emit.Bundle) error {
	defer f.trouble.Store(nil)
	name, text := f.names.Next(time.Now()), f.document.Around(b.Text())
	backoff := remote.Backoff{Min: time.Second, Max: 15 * time.Second}
	limited, cancel := context.WithTimeout(ctx, filePatience)
	defer cancel()
	for failures := 0; ; failures++ {
		err := f.store.Put(limited, name, text...)
		if err == nil {
			break
		}
		err = fmt.Errorf("put a file into %s: %w", f.name, err)
		if !files.IsTemporary(err) || limited.Err() != nil {
			return err
		}
		if failures == 0 {
			f.trouble.Store(&f.name)
			f.log.Warn("a bundle cannot be put into its file; trying again for two minutes", zap.Error(err))
		}
		if remote.Wait(limited, backoff.Delay(failures)) != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
	f.expire(ctx, "older files were not removed")
	return nil
}

func (f *fileDeposit) expire(ctx context.Context, otherwise string) {
	if err := f.store.Expire(ctx); err != nil && ctx.Err() == nil {
		f.log.Warn(otherwise, zap.String("from", f.name), zap.Error(err))
	}
}
