package main

import (
	"fmt"
	"time"

	"github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/v2"
)

// Config is the whole configuration, checked and typed. It is safe to print and to log: secrets hide themselves.
type Config struct {
	OpenCTI     OpenCTIConfig
	Connector   ConnectorConfig
	ThreatMatch ThreatMatchConfig
	MQ          MQConfig
	Network     NetworkConfig
}

// OpenCTIConfig says how to reach the platform.
type OpenCTIConfig struct {
	URL         string // without a trailing slash
	Token       Secret
	TLS         ServerTrust
	Headers     Headers // added to every GraphQL request
	JSONLogging bool
}

// ConnectorConfig is what OpenCTI knows about this connector, and how it lives.
type ConnectorConfig struct {
	ID              string // a UUID, lower case
	Type            string // always EXTERNAL_IMPORT
	Name            string
	Scope           []string
	LogLevel        LogLevel
	Period          Period // zero: run once
	RunAndTerminate bool
	Reimport        bool
	QueueThreshold  float64 // MB, that is 10^6 bytes
	MaxMessageBytes int
	StateDir        string
	ExposeMetrics   bool
	MetricsPort     int

	MetricsNamespace string
	MetricsSubsystem string
}

// RunOnce tells whether the connector ends after one run.
func (c ConnectorConfig) RunOnce() bool { return c.RunAndTerminate || c.Period.IsZero() }

// ThreatMatchConfig says what to read from ThreatMatch and how to map it.
type ThreatMatchConfig struct {
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
	RateLimit                 float64 // requests a second, 0: no limit
	Concurrency               int     // items fetched side by side
}

// MQConfig overrides the RabbitMQ connection that the platform hands out. Empty, zero and nil mean: as the platform says.
type MQConfig struct {
	Host   string
	Port   int
	VHost  string
	User   string
	Pass   Secret
	UseSSL *bool

	CA                 string // PEM
	Cert               string // PEM
	Key                Secret // PEM
	Passphrase         Secret
	RejectUnauthorized bool
}

// NetworkConfig holds for every outgoing connection.
type NetworkConfig struct {
	HTTPProxy  Secret // may carry a password
	HTTPSProxy Secret
	NoProxy    string
	CA         string // PEM of authorities trusted beside the system's
}

// ServerTrust says whether and by which authorities a server's certificate is verified.
type ServerTrust struct {
	Verify bool
	CA     string // PEM, "" for the system's authorities
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

// String shows every field, secrets hidden.
func (cfg Config) String() string {
	type plain Config // without this method, which %+v would call again
	return fmt.Sprintf("%+v", plain(cfg))
}

// Warning is something about the configuration that does not stop the connector but that its operator should know.
type Warning string

// loadConfig reads the configuration from the file at path, then from environ (as [os.Environ] gives it), then from the
// defaults; what is found first counts. A missing file is an error only when it was asked for explicitly. The error, a
// [*ConfigError], names everything that is wrong at once and never shows a secret.
func loadConfig(path string, explicit bool, environ []string) (Config, []Warning, error) {
	return loadConfigAt(path, explicit, environ, time.Now())
}

func loadConfigAt(path string, explicit bool, environ []string, now time.Time) (Config, []Warning, error) {
	cfg, warnings, problems, err := readConfig(path, explicit, environ, now)
	switch {
	case err != nil:
		return Config{}, nil, err
	case len(problems) > 0:
		return Config{}, warnings, &ConfigError{Problems: problems}
	}
	return cfg, append(warnings, remarks(cfg)...), nil
}

// readConfig reads what can be read; the settings among the problems have their zero value.
func readConfig(path string, explicit bool, environ []string, now time.Time) (cfg Config, warnings []Warning, problems []Problem, err error) {
	table := settings(now)
	file, problems := readConfigFile(path, explicit, table)
	if len(problems) > 0 && len(file.values) == 0 {
		return Config{}, nil, problems, nil // what it would have set is not missing
	}
	env, moreProblems, warnings := readEnvironment(environ, table)
	problems = append(problems, moreProblems...)
	warnings = append(warnings, hiddenByFile(file, env, table)...)

	merged := koanf.New(keyDelimiter)
	for _, l := range []layer{defaultsOf(table), env.layer(), file.layer()} {
		if err := merged.Load(l, nil); err != nil {
			return Config{}, nil, nil, fmt.Errorf("merge configuration: %w", err)
		}
	}
	for _, s := range table {
		text := merged.String(s.key())
		where := origin{name: s.env}
		if found, ok := env.values[s.key()]; ok {
			where.name = found.name
		}
		if found, ok := file.values[s.key()]; ok {
			where = origin{name: s.env, key: found.name, file: file.path, line: found.line}
		}
		problems = append(problems, s.store(&cfg, text, where)...)
	}
	return cfg, warnings, append(problems, crossCheck(cfg)...), nil
}

const keyDelimiter = "."

// layer is one source of settings, by key; it is a koanf provider.
type layer map[string]any

// Read returns the settings as nested maps.
func (l layer) Read() (map[string]any, error) {
	return maps.Unflatten(map[string]any(l), keyDelimiter), nil
}

// ReadBytes is not offered: the settings are parsed already.
func (l layer) ReadBytes() ([]byte, error) {
	return nil, fmt.Errorf("read settings as bytes: not supported")
}

func defaultsOf(table []setting) layer {
	l := layer{}
	for _, s := range table {
		if s.def != "" {
			l[s.key()] = s.def
		}
	}
	return l
}
