package check

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/words"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/pipeline/remote"
	"github.com/opencti-connectors/threatmatch/state"
)

// brokerTold is what OpenCTI has told of its broker, or why it has not.
type brokerTold struct {
	queue opencti.Queue
	// name is the connector's queue, "" before the first registration.
	name string
	err  error
}

// openctiLook is a look at OpenCTI.
type openctiLook struct {
	place
	cfg     config.Config
	secrets *remote.Redactor
	api     *opencti.Client
	user    opencti.User
}

func (c *checker) opencti(ctx context.Context, told chan<- brokerTold, stored chan<- storageTold) *part {
	p := &part{name: partOpenCTI}
	broker, storage := brokerTold{}, storageTold{}
	defer func() {
		if p.broken != "" {
			broker.err = &unseen{why: "not known: OpenCTI was not asked, for its " + p.broken}
			storage.err = broker.err
		}
		told <- broker
		stored <- storage
	}()
	carrier := remotes.ToOpenCTI(c.cfg, c.keys)
	defer carrier.CloseIdleConnections()
	at, err := placeOf(remotes.WayToOpenCTI(c.cfg, c.keys), c.cfg.OpenCTI.URL, opencti.Settings)
	if err != nil {
		p.must(ctx, "address", failing(err))
		return p
	}
	p.reach(ctx, at)
	watch := &clockWatch{next: carrier}
	look := &openctiLook{place: at, cfg: c.cfg, secrets: c.secrets}
	if look.api, err = remotes.OpenCTI(c.cfg, watch, nil); err != nil {
		p.must(ctx, "settings", failing(err))
		return p
	}
	p.must(ctx, "version", look.version)
	p.must(ctx, "user", look.whoIsIt)
	p.try(ctx, "rights", look.rights)
	var asking sync.WaitGroup
	if p.broken == "" {
		asking.Go(func() { broker = look.brokerOf(ctx) })
		asking.Go(func() { storage = look.storageOf(ctx) })
	}
	if way := look.way(); way != nil {
		p.try(ctx, "way in", way)
	}
	checks := map[string]step{"connector": look.connector, "state": look.state, "queue": look.queue}
	p.all(ctx, []string{"connector", "state", "queue"}, func(name string) step { return checks[name] })
	asking.Wait()
	p.try(ctx, "clock", watch.compare(partOpenCTI))
	return p
}

// version also tells whether it is OpenCTI that answers. Releases differ in whether they tell it to strangers.
func (l *openctiLook) version(ctx context.Context) (string, string, error) {
	version, err := l.api.Version(ctx)
	switch {
	case err == nil:
		return version, "", nil
	case l.stranger(err):
		return "told to known users only", "", nil
	}
	return "", "", l.named(ctx, err)
}

// stranger reports whether OpenCTI itself says that it does not know the token.
func (l *openctiLook) stranger(err error) bool {
	return opencti.IsUnauthorized(err) && !opencti.IsForbidden(err) && !opencti.IsUnrecognized(err)
}

func (l *openctiLook) whoIsIt(ctx context.Context) (string, string, error) {
	user, err := l.api.WhoAmI(ctx)
	switch {
	case err == nil:
	case l.stranger(err):
		return "", "", wrong("in OpenCTI, make a user for the connector in the group Connectors, and set OPENCTI_TOKEN to its token",
			"OpenCTI does not know OPENCTI_TOKEN")
	default:
		return "", "", l.named(ctx, err)
	}
	l.user = user
	seen := fmt.Sprintf("%s <%s>", user.Name, user.Email)
	if user.MaxConfidence != nil {
		seen += fmt.Sprintf(", max confidence %d", *user.MaxConfidence)
	}
	return seen, "", nil
}

// needs are what the connector does, and the capabilities that let it, any one of a row; optional ones cost some knowledge only.
// These are the names that OpenCTI's schema guards its operations by.
var needs = []struct {
	to       string
	any      []string
	optional bool
}{
	{"register, ping and learn of the queue", []string{"CONNECTORAPI"}, false},
	{"ask for its state, works and queue", []string{"MODULES"}, false},
	{"keep a work for each run", []string{"KNOWLEDGE_KNASKIMPORT", "KNOWLEDGE_KNGETEXPORT_KNASKEXPORT"}, false},
	{"have its knowledge imported", []string{"KNOWLEDGE_KNUPDATE"}, false},
	{"have labels and kill chain phases made", []string{"SETTINGS_SETLABELS"}, true},
	{"have markings made that OpenCTI lacks", []string{"SETTINGS_SETMARKINGS"}, true},
}

func (l *openctiLook) rights(context.Context) (string, string, error) {
	var missing, wanting []string
	for _, need := range needs {
		has := false
		for _, capability := range need.any {
			has = has || l.user.Can(capability)
		}
		lack := fmt.Sprintf("%s (to %s)", need.any[0], need.to)
		switch {
		case has:
		case need.optional:
			wanting = append(wanting, lack)
		default:
			missing = append(missing, lack)
		}
	}
	const remedy = "put the user into OpenCTI's group Connectors, or give its role these capabilities"
	switch {
	case len(missing) == 0 && l.user.Rated && l.user.MaxConfidence == nil:
		return "", "", wrong("give the user, or a group that it is in, a max confidence level in OpenCTI",
			"the user has no max confidence level, and OpenCTI takes no knowledge from such a user")
	case len(missing) > 0:
		return "", "", wrong(remedy, "the user lacks %s", strings.Join(append(missing, wanting...), ", "))
	case len(wanting) > 0:
		return "enough to run, but the user lacks " + strings.Join(wanting, ", "), remedy, nil
	}
	return "all that the connector needs", "", nil
}

// way is the check whether this release takes what is sent on the way that a setting chooses, nil for one that all of them have.
func (l *openctiLook) way() step {
	var ask func(context.Context) error
	var by string
	switch of := l.cfg.Connector; {
	case of.Drafts():
		ask, by = l.api.TakesDrafts, "CONNECTOR_VALIDATION_MODE=draft"
	case of.Queues() && of.QueueProtocol == config.QueueAPI:
		ask, by = l.api.TakesBundles, "CONNECTOR_QUEUE_PROTOCOL=api"
	default:
		return nil
	}
	return func(ctx context.Context) (string, string, error) {
		err := ask(ctx)
		if err == nil {
			return "this release knows " + by, "", nil
		}
		if problem, remedy := opencti.ChosenWay(err); problem != "" {
			return "", "", wrong(remedy, "this release does not know %s: %s", by, problem)
		}
		return "", "", l.named(ctx, err)
	}
}

func (l *openctiLook) connector(ctx context.Context) (string, string, error) {
	found, err := l.api.Presence(ctx)
	switch {
	case errors.Is(err, opencti.ErrConnectorGone):
		return "not registered yet: the first start does that", "", nil
	case err != nil:
		return "", "", l.named(ctx, err)
	case found.Active:
		return fmt.Sprintf("registered as %q and active", found.Name),
			"a connector with this CONNECTOR_ID runs, or did so five minutes ago: do not start a second one", nil
	}
	seen := fmt.Sprintf("registered as %q, not active", found.Name)
	if !found.LastSeen.IsZero() {
		seen += ", last heard of " + found.LastSeen.UTC().Format(time.RFC3339)
	}
	if found.ResetPending {
		seen += "; it was reset: the next run is a first one"
	}
	return seen, "", nil
}

func (l *openctiLook) state(ctx context.Context) (string, string, error) {
	held, err := l.api.ConnectorState(ctx)
	switch {
	case errors.Is(err, opencti.ErrConnectorGone):
		return "none yet", "", nil
	case err != nil:
		return "", "", l.named(ctx, err)
	}
	const anew = "or reset the connector in OpenCTI (Data > Ingestion > Connectors) to import everything again"
	told, err := state.Describe(held.State)
	switch {
	case errors.Is(err, state.ErrNewer):
		return "", "", wrong("run that release, "+anew, "it was written by a newer release")
	case err != nil:
		return "", "", wrong("restore it, "+anew, "it is not one that a connector for ThreatMatch has written")
	}
	if strings.TrimSpace(held.State) == "" {
		return "none: the next run is a first one", "", nil
	}
	mind := ""
	if !l.cfg.Connector.Reimport { // which forgets what was imported
		mind = string(l.cfg.ThreatMatch.EarlierStart(told.Beginning, time.Now()))
	}
	return fmt.Sprintf("can be read, %d bytes", len(held.State)), mind, nil
}

func (l *openctiLook) queue(ctx context.Context) (string, string, error) {
	held, err := l.api.Watch(ctx, "")
	switch {
	case errors.Is(err, opencti.ErrConnectorGone):
		return "", "", &unseen{why: "there is none yet: it comes with the first start"}
	case err != nil:
		return "", "", l.named(ctx, err)
	case held.Untold:
		return "", "", &unseen{why: "not known: this release of OpenCTI does not tell; CONNECTOR_QUEUE_THRESHOLD has no effect"}
	}
	threshold := l.cfg.Connector.QueueThreshold
	seen := fmt.Sprintf("%s, %.1f MB; CONNECTOR_QUEUE_THRESHOLD is %s MB",
		words.Counted(held.Messages, "message"), float64(held.Bytes)/1e6, strconv.FormatFloat(threshold, 'f', -1, 64))
	if float64(held.Bytes) >= threshold*1e6 && held.Bytes > 0 {
		return "", "", wrong("see that OpenCTI's workers run; the connector waits until they have caught up", "full: %s", seen)
	}
	return seen, "", nil
}

// brokerOf asks where the messages go.
func (l *openctiLook) brokerOf(ctx context.Context) brokerTold {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	queue, name, err := l.api.Broker(ctx)
	switch {
	case err == nil:
		l.secrets.Add(queue.Password)
		return brokerTold{queue: queue, name: name}
	case errors.Is(err, opencti.ErrConnectorGone):
		err = &unseen{why: "known after the first start: OpenCTI tells it to a connector that registers"}
	case opencti.IsForbidden(err):
		err = &unseen{why: "not known: OpenCTI tells it to users with MODULES and CONNECTORAPI only"}
	case opencti.IsRefused(err):
		err = &unseen{why: "known after the first start: this release of OpenCTI does not tell it before"}
	default:
		err = &unseen{why: fmt.Sprintf("not known: %v", l.named(ctx, err))}
	}
	return brokerTold{err: err}
}

// named says what is wrong with a call that failed.
func (l *openctiLook) named(ctx context.Context, err error) error {
	switch {
	case opencti.IsForbidden(err):
		return &unseen{why: "OpenCTI does not tell it to this user, see its rights"}
	case opencti.IsRefused(err):
		return &unseen{why: "not known: this release of OpenCTI does not tell"}
	}
	known, text := opencti.Diagnose(err), err.Error()
	var said *opencti.Error
	if errors.As(err, &said) {
		text = known.CutFrom(said.Message)
		if said.Status != 0 {
			text += fmt.Sprintf(", HTTP %d", said.Status)
		}
	}
	return l.explain(ctx, known, text, "see whether OpenCTI is well")
}
