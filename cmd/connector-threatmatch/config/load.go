package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/knadh/koanf/v2"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// Load reads the configuration from the file at path, then from environ (as [os.Environ] gives it), then from the
// defaults; what is found first counts. A missing file is an error only when it was asked for explicitly. The error, an
// [*Error], names everything that is wrong at once and never shows a secret.
func Load(path string, explicit bool, environ []string) (Config, []Warning, error) {
	l, err := loadAll(path, explicit, environ)
	if err != nil {
		return Config{}, nil, err
	}
	if err := l.wrong(); err != nil {
		return Config{}, l.warnings, err
	}
	return l.cfg, l.warnings, nil
}

// LoadPartly reads what [Load] reads and leaves aside what is wrong with it: the settings that are missing or cannot be
// read have their zero value.
func LoadPartly(path string, explicit bool, environ []string) (Config, error) {
	l, err := loadAll(path, explicit, environ)
	return l.cfg, err
}

// loading is what came of reading a configuration.
type loading struct {
	cfg      Config // the settings among the problems have their zero value
	settings []effective
	secrets  *remote.Redactor
	warnings []Warning
	problems []Problem
}

// wrong returns the problems as an error.
func (l loading) wrong() error {
	if len(l.problems) == 0 {
		return nil
	}
	return &Error{Problems: l.problems}
}

// loadAll reads what can be read.
func loadAll(path string, explicit bool, environ []string) (l loading, err error) {
	table := allSettings(time.Now())
	file, problems, fileWarnings := readFile(path, explicit, table)
	if len(problems) > 0 && len(file.values) == 0 {
		return loading{problems: problems}, nil // what it would have set is not missing
	}
	env, moreProblems, warnings := readEnvironment(environ, table)
	l.problems = append(problems, moreProblems...)
	l.warnings = slices.Concat(fileWarnings, warnings, hiddenByFile(file, env, table))
	if explicit && len(file.values) == 0 {
		l.warnings = append(l.warnings, Warning(file.path+" holds no setting"))
	}

	merged := koanf.New(keyDelimiter)
	for _, source := range []layer{defaultsOf(table), env.layer(), file.layer()} {
		if err := merged.Load(source, nil); err != nil {
			return loading{}, fmt.Errorf("merge configuration: %w", err)
		}
	}
	for _, s := range table {
		where := origin{name: s.env}
		if found, ok := env.values[s.key()]; ok {
			where = origin{name: found.name, set: true, secretFile: found.secretFile, fault: found.fault, mistaken: found.mistaken}
		}
		if found, ok := file.values[s.key()]; ok {
			where = origin{name: s.env, set: true, key: found.name, file: file.path, line: found.line}
		}
		l.settings = append(l.settings, effective{s, strings.TrimSpace(merged.String(s.key())), where})
	}
	l.warnings = append(l.warnings, takeOlderInterval(l.settings)...)
	l.secrets = secretsAmong(l.settings)
	for _, e := range l.settings {
		problems := e.store(&l.cfg, e.text, e.where, l.secrets)
		l.problems = append(l.problems, problems...)
		if wrong := slip(e.text); wrong != "" && len(problems) == 0 && e.where.fromLine() {
			l.warnings = append(l.warnings, Warning(e.where.String()+" "+wrong))
		}
	}
	if l.problems = append(l.problems, crossCheck(l.cfg)...); len(l.problems) == 0 {
		l.warnings = append(l.warnings, riskWarnings(l.cfg)...)
	}
	return l, nil
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

// crossCheck finds what is wrong between settings that are each right by themselves.
func crossCheck(c Config) []Problem {
	var found []Problem
	switch mq := c.MQ; {
	case mq.Cert.IsZero() != mq.Key.IsZero():
		found = append(found, Problem{Name: "MQ_USE_SSL_CERT and MQ_USE_SSL_KEY", Advice: "set both or neither: a certificate works only with its key"})
	case !mq.Cert.IsZero():
		if _, err := mq.ClientCertificate(); err != nil {
			found = append(found, Problem{Name: "MQ_USE_SSL_CERT and MQ_USE_SSL_KEY", Advice: err.Error()})
		}
	}
	if c.Connector.Drafts() && c.Connector.QueueProtocol == QueueAPI {
		found = append(found, Problem{Name: "CONNECTOR_VALIDATION_MODE and CONNECTOR_QUEUE_PROTOCOL",
			Advice: "OpenCTI's API takes nothing for a draft: set CONNECTOR_QUEUE_PROTOCOL=amqp, or CONNECTOR_VALIDATION_MODE=workbench"})
	}
	return append(found, filesProblems(c)...)
}

// riskWarnings are about a configuration that is valid.
func riskWarnings(c Config) []Warning {
	var w []Warning
	if !c.OpenCTI.TLS.Verify {
		w = append(w, "OPENCTI_SSL_VERIFY=false: whoever can intercept the connection to OpenCTI can read its token")
	}
	if !isUUID(c.Connector.ID) {
		w = append(w, "CONNECTOR_ID is no UUID. OpenCTI keeps the connector's state under it: leave it as it is where it has been in use, else take what uuidgen prints")
	}
	if !c.MQ.RejectUnauthorized {
		w = append(w, "MQ_USE_SSL_REJECT_UNAUTHORIZED=false: RabbitMQ's certificate is not verified")
	}
	if !c.Connector.SendToQueue && !c.Connector.Uploads() {
		w = append(w, nothingToOpenCTI(c.Directory.On || c.S3.On))
	}
	if !c.Connector.SendToQueue && c.Connector.Uploads() {
		w = append(w, "CONNECTOR_SEND_TO_QUEUE=false has no effect on workbenches: CONNECTOR_VALIDATE_BEFORE_IMPORT=true has them uploaded to OpenCTI")
	}
	if c.MQ.Proxy.Environment && c.Network.HTTPSProxy == "" {
		w = append(w, "MQ_PROXY=environment, but HTTPS_PROXY is not set: RabbitMQ is reached without a proxy")
	}
	if inClearText(c.ThreatMatch.URL) {
		w = append(w, "THREATMATCH_URL begins with http: the client's secret travels in clear text, also where the server asks for https")
	}
	if s3 := c.S3; s3.On && s3.UseSSL != nil && !*s3.UseSSL && s3.Endpoint != "" && inClearText("http://"+net.JoinHostPort(s3.Endpoint, "80")) {
		w = append(w, "S3_USE_SSL=false: the bundles travel to S3_ENDPOINT in clear text")
	}
	if tm := c.ThreatMatch; !tm.Profiles && !tm.Alerts && !tm.IOCs && !tm.Reports {
		w = append(w, "every dataset is switched off (THREATMATCH_IMPORT_PROFILES, _ALERTS, _IOCS, _REPORTS): nothing will be imported")
	}
	return append(append(w, filesWarnings(c)...), filterWarnings(c.ThreatMatch)...)
}

// filterWarnings are about filters that work against each other or against what is set beside them.
func filterWarnings(tm ThreatMatch) []Warning {
	var w []Warning
	if strictness(tm.MaxTLP) > 0 && strictness(tm.TLP) > strictness(tm.MaxTLP) {
		w = append(w, "THREATMATCH_MAX_TLP is below THREATMATCH_TLP_LEVEL: everything that comes without a marking is left out")
	}
	both := slices.DeleteFunc(slices.Clone(tm.Types), func(typ string) bool { return !slices.Contains(tm.ExcludeTypes, typ) })
	if len(both) > 0 {
		w = append(w, Warning("THREATMATCH_EXCLUDE_TYPES leaves out what THREATMATCH_TYPES asks for: "+strings.Join(both, ", ")))
	}
	return w
}

func nothingToOpenCTI(files bool) Warning {
	if files {
		return "CONNECTOR_SEND_TO_QUEUE=false: nothing goes to OpenCTI, only into files"
	}
	return "CONNECTOR_SEND_TO_QUEUE=false, and neither CONNECTOR_SEND_TO_DIRECTORY nor CONNECTOR_SEND_TO_S3: what is imported goes nowhere, yet counts as delivered, and only CONNECTOR_REIMPORT=true brings it later"
}

// strictness compares markings; 0 is that of none.
func strictness(t TLP) int {
	return map[TLP]int{TLPClear: 1, TLPWhite: 1, TLPGreen: 2, TLPAmber: 3, TLPAmberStrict: 4, TLPRed: 5}[t]
}

// inClearText says that an address leads out of this machine without TLS.
func inClearText(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || !ip.IsLoopback()
}
