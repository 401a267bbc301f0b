// Package config reads and checks the settings of the connector; its table of settings is also what the schema, the
// samples and the documentation are made from.
package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Config is the whole configuration, checked and typed. It is safe to print and to log: secrets hide themselves.
type Config struct {
	OpenCTI     OpenCTI
	Connector   Connector
	ThreatMatch ThreatMatch
	Directory   Directory
	S3          S3
	MQ          MQ
	Network     Network
}

// OpenCTI says how to reach the platform.
type OpenCTI struct {
	URL         string // without a trailing slash
	Token       Secret
	TLS         ServerTrust
	Headers     Headers // added to every GraphQL request
	JSONLogging bool
}

// Connector is what OpenCTI knows about this connector, and how it lives.
type Connector struct {
	ID              string // as it is written, mostly a UUID
	Type            string // always EXTERNAL_IMPORT
	Name            string
	Scope           []string
	LogLevel        LogLevel
	Period          Period // zero: run once
	RunAndTerminate bool
	Reimport        bool
	// SendToQueue says that what is delivered goes to OpenCTI's workers, by QueueProtocol, unless it is validated first.
	SendToQueue   bool
	QueueProtocol QueueProtocol
	// ValidateBeforeImport has analysts look through what is delivered, in the way of ValidationMode, before it is knowledge.
	ValidateBeforeImport bool
	ValidationMode       ValidationMode

	QueueThreshold  float64 // MB, that is 10^6 bytes
	MaxMessageBytes int
	Memory          int // MiB of payload on its way
	// VerifyAfter is how long the index of delivered objects is believed; zero for ever.
	VerifyAfter   Period
	StateDir      string
	Relations     Relations
	StatusAddress string // host:port to listen on, the host may be empty for every one; "" for nowhere
	ExposeMetrics bool
	MetricsPort   int

	MetricsNamespace string
	MetricsSubsystem string
}

// Queues tells whether messages go into OpenCTI's queue.
func (c Connector) Queues() bool { return c.SendToQueue && !c.Uploads() }

// Uploads tells whether bundles are uploaded to OpenCTI as workbenches.
func (c Connector) Uploads() bool {
	return c.ValidateBeforeImport && c.ValidationMode == ValidationWorkbench
}

// Drafts tells whether messages are imported into drafts.
func (c Connector) Drafts() bool {
	return c.SendToQueue && c.ValidateBeforeImport && c.ValidationMode == ValidationDraft
}

// RunOnce tells whether the connector ends after one run.
func (c Connector) RunOnce() bool { return c.RunAndTerminate || c.Period.IsZero() }

// LargestAnswer is how many bytes an answer of ThreatMatch may have: an item can be larger than what is on its way at a time.
func (c Connector) LargestAnswer() int64 { return max(64, int64(c.Memory)) << 20 }

// ThreatMatch says what to read from ThreatMatch and how to map it.
type ThreatMatch struct {
	URL                       string // without a trailing slash
	ClientID                  string
	ClientSecret              Secret
	ImportFrom                Start
	Profiles                  bool
	Alerts                    bool
	IOCs                      bool
	Reports                   bool
	TLP                       TLP
	ThreatActorAsIntrusionSet bool
	DescriptionFormat         DescriptionFormat
	Labels                    Labels
	MaxTLP                    TLP      // "": any
	Types, ExcludeTypes       []string // of STIX, nil for all and for none
	MinConfidence, MinScore   int      // 0: any
	Tags, ExcludeTags         []string // labels
	CreateObservables         bool
	Score                     *int    // nil: none is added
	Overlap                   Period  // before the last import that the next one looks
	RateLimit                 float64 // requests a second, 0: no limit
	Concurrency               int     // items fetched side by side
}

// Directory says whether bundles go as files into a folder.
type Directory struct {
	On   bool
	Path string // set where On
	Days int    // that files stay, 0 for ever
}

// S3 says whether bundles go as files into a bucket, and overrides what the platform tells of its own. Empty, zero and nil mean: as the
// platform says, of whose server Port, UseSSL and Region are then.
type S3 struct {
	On        bool
	Bucket    string
	Folder    string // without slashes around it, "" for none
	Days      int    // that files stay, 0 for ever
	Endpoint  string // a host
	Port      int
	UseSSL    *bool
	Region    string
	AccessKey Secret
	SecretKey Secret // set where AccessKey is, and not with Role
	Role      bool   // take the credentials from where the program runs
}

// MQ overrides the RabbitMQ connection that the platform hands out. Empty, zero and nil mean: as the platform says.
type MQ struct {
	Hosts  []BrokerHost // none where OpenCTI says where it is
	Port   int
	VHost  string
	User   string
	Pass   Secret
	UseSSL *bool

	CA                 PEM
	Cert               PEM
	Key                PEM
	Passphrase         Secret
	RejectUnauthorized bool

	Proxy BrokerProxy
}

// Network holds for every outgoing connection.
type Network struct {
	HTTPProxy  Secret // may carry a password
	HTTPSProxy Secret
	NoProxy    string
	CA         PEM // authorities trusted beside the system's
}

// ServerTrust says whether and by which authorities a server's certificate is verified.
type ServerTrust struct {
	Verify bool
	CA     PEM // none stands for the system's authorities
}

// BrokerProxy says by which proxy RabbitMQ is reached; the zero value means by none.
type BrokerProxy struct {
	URL Secret // may carry a password
	// Environment stands for what HTTPS_PROXY and NO_PROXY say.
	Environment bool
}

// LogLevel is one of the levels below.
type LogLevel string

// The log levels, from most to least talkative.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// TLP is the traffic light that objects without a marking of their own get.
type TLP string

// The traffic lights.
const (
	TLPClear       TLP = "clear"
	TLPWhite       TLP = "white"
	TLPGreen       TLP = "green"
	TLPAmber       TLP = "amber"
	TLPAmberStrict TLP = "amber+strict"
	TLPRed         TLP = "red"
)

// DescriptionFormat is what becomes of ThreatMatch's HTML descriptions.
type DescriptionFormat string

// The description formats.
const (
	DescriptionMarkdown DescriptionFormat = "markdown"
	DescriptionText     DescriptionFormat = "text"
	DescriptionHTML     DescriptionFormat = "html"
)

// Labels is what becomes of ThreatMatch's labels.
type Labels string

// The ways to treat labels.
const (
	LabelsKnowledge Labels = "knowledge"
	LabelsKeep      Labels = "keep"
	LabelsDrop      Labels = "drop"
)

// QueueProtocol is how messages get into OpenCTI's queue.
type QueueProtocol string

// The protocols.
const (
	QueueAMQP QueueProtocol = "amqp" // the connector publishes to RabbitMQ
	QueueAPI  QueueProtocol = "api"  // it hands them to OpenCTI's API
)

// ValidationMode is where analysts look through what is delivered.
type ValidationMode string

// The modes.
const (
	ValidationWorkbench ValidationMode = "workbench"
	ValidationDraft     ValidationMode = "draft"
)

// Relations is what becomes of relations that OpenCTI does not take between their ends.
type Relations string

// The ways to treat relations.
const (
	RelationsFit  Relations = "fit"
	RelationsAsIs Relations = "as-is"
)

// String shows every field, secrets hidden.
func (cfg Config) String() string {
	type plain Config // without this method, which %+v would call again
	return fmt.Sprintf("%+v", plain(cfg))
}

// Secrets lists the secrets that a library may repeat in one of its errors, some of them empty.
func (cfg Config) Secrets() []string {
	var all []string
	for _, s := range []Secret{
		cfg.OpenCTI.Token, cfg.ThreatMatch.ClientSecret, cfg.MQ.Pass, cfg.MQ.Passphrase, cfg.MQ.Key.Text,
		cfg.S3.AccessKey, cfg.S3.SecretKey,
	} {
		all = append(all, s.Reveal())
	}
	for _, values := range cfg.OpenCTI.Headers {
		all = append(all, values...)
	}
	return append(all, slices.Concat(proxySecrets(cfg.Network.HTTPProxy), proxySecrets(cfg.Network.HTTPSProxy), proxySecrets(cfg.MQ.Proxy.URL))...)
}

// proxySecrets returns the password inside a proxy's address, and what Basic authentication makes its value of.
func proxySecrets(proxy Secret) []string {
	full := proxy.Reveal()
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	if err != nil {
		return nil
	}
	password, _ := u.User.Password()
	if password == "" {
		return nil
	}
	return []string{password, u.User.Username() + ":" + password}
}
