package check

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// wholeLimit bounds all checks together.
const wholeLimit = 20 * time.Second

// The parts that are looked at.
const (
	partConfiguration = "configuration"
	partThreatMatch   = "ThreatMatch"
	partOpenCTI       = "OpenCTI"
	partRabbitMQ      = "RabbitMQ"
	partFolder        = "state folder"
	partDirectory     = "directory"
	partBucket        = "S3 bucket"
)

// checkWarning is the check of which each finding is a warning about the configuration.
const checkWarning = "warning"

// checker is one look at everything.
type checker struct {
	cfg     config.Config
	version string // of the program
	secrets *remote.Redactor
	keys    *remotes.Keyring
}

// Configuration tells how reading the configuration went, of which cfg holds what could be read. Of one that is wrong nothing else can
// be tried, which is told too.
func Configuration(cfg config.Config, warnings []config.Warning, err error) []Finding {
	p := &part{name: partConfiguration}
	settings := p.line("settings")
	settings.Status, settings.Detail = OK, "all are valid"
	for _, w := range warnings {
		f := p.line(checkWarning)
		f.Status, f.Detail = OK, string(w)
	}
	if err == nil {
		return p.findings()
	}
	settings.Status, settings.Detail = Failed, err.Error()
	var bad *config.Error
	if errors.As(err, &bad) {
		settings.Detail = words.Counted(int64(len(bad.Problems)), "problem")
		for _, problem := range bad.Problems {
			f := p.line("setting")
			f.Status, f.Detail, f.Remedy = Failed, problem.Name, problem.Advice
			if problem.Value != "" {
				f.Detail += " is " + problem.Value
			}
		}
	}
	list := p.findings()
	parts := []string{partThreatMatch, partOpenCTI, partRabbitMQ, partFolder}
	if cfg.Directory.On {
		parts = append(parts, partDirectory)
	}
	if cfg.S3.On {
		parts = append(parts, partBucket)
	}
	for _, name := range parts {
		list = append(list, Finding{Part: name, Check: "all", Status: Untried, Detail: notTried + "the configuration is wrong"})
	}
	return list
}

// Run looks at everything that a valid configuration names; version is the program's. It takes at most about 20 seconds.
func Run(ctx context.Context, cfg config.Config, version string) []Finding {
	ctx, cancel := context.WithTimeout(ctx, wholeLimit)
	defer cancel()
	keys, err := remotes.NewKeyring(cfg, nil)
	if err != nil {
		return []Finding{{Part: partConfiguration, Check: "certificates", Status: Failed, Detail: err.Error()}}
	}
	c := &checker{cfg: cfg, version: version, secrets: remote.NewRedactor(cfg.Secrets()...), keys: keys}
	told, storage := make(chan brokerTold, 1), make(chan storageTold, 1)
	looks := []func() *part{
		func() *part { return c.threatmatch(ctx) },
		func() *part { return c.opencti(ctx, told, storage) },
		func() *part { return c.broker(ctx, told) },
		func() *part { return c.folder(ctx) },
	}
	if cfg.Directory.On {
		looks = append(looks, func() *part { return c.directory(ctx) })
	}
	if cfg.S3.On {
		looks = append(looks, func() *part { return c.bucket(ctx, storage) })
	}
	parts := make([]*part, len(looks))
	var running sync.WaitGroup
	for i, look := range looks {
		running.Go(func() { parts[i] = look() })
	}
	running.Wait()
	var all []Finding
	for _, p := range parts {
		all = slices.Concat(all, p.findings())
	}
	for i := range all {
		all[i].Detail, all[i].Remedy = c.secrets.Redact(all[i].Detail), c.secrets.Redact(all[i].Remedy)
	}
	return all
}
