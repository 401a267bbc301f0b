package twins

import (
	"errors"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/sandbox"
	"github.com/opencti-connectors/threatmatch/emit/openctitest"
	"github.com/opencti-connectors/threatmatch/transform/relations"
)

// Token is what OpenCTI's twin wants of connectors. It protects nothing.
const Token = "b8a1c9f2-0000-4000-8000-benchmarking"

// OpenCTISettings say where the platform declares its queues, and of what type, "" for the broker's default.
type OpenCTISettings struct {
	Broker    string
	QueueType string
}

// Work is what became of a work.
type Work struct {
	Expected int
	Closed   int // times
	InError  bool
	Message  string
}

// storage is what the platform says of its storage, as most do. Nobody asks it.
var storage = openctitest.Storage{Endpoint: "127.0.0.1", Port: 9000, Bucket: "opencti-bucket", Region: "us-east-1", AccessKey: "nobody", SecretKey: "asks"}

type openCTI struct {
	*site
	platform *openctitest.Platform
}

func startOpenCTI(s OpenCTISettings) (*openCTI, error) {
	p, err := openctitest.New(openctitest.Config{Token: Token, Broker: openctitest.BrokerURL(s.Broker), QueueType: s.QueueType,
		Relations: relations.BuiltInMapping(), Storage: storage})
	if err != nil {
		return nil, err
	}
	p.Hold(sandbox.BuiltInMarkings()...)
	served, err := newSite(p)
	return &openCTI{served, p}, err
}

// close also takes the queues away, with what they hold.
func (o *openCTI) close() error { return errors.Join(o.site.close(), o.platform.Withdraw()) }

func (o *openCTI) account() (a Account) {
	for _, w := range o.platform.Works() {
		a.Works = append(a.Works, Work{w.Expected, w.Closed, w.InError, w.Message})
	}
	return a
}
