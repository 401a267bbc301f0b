package config

import (
	"strings"
	"time"
)

// allSettings is every setting that there is. Parsing, the schemas, the samples, the tables of the documentation and
// `config show` all come from here, and defaults stand nowhere else.
func allSettings(now time.Time) []setting {
	return append(append(platformSettings(), connectorSettings()...), append(threatmatchSettings(now), connectionSettings()...)...)
}

func platformSettings() []setting {
	return []setting{
		{env: "OPENCTI_URL", path: "opencti.url", required: true,
			value: into(webAddress(), func(c *Config) *string { return &c.OpenCTI.URL }),
			about: "Base URL of OpenCTI."},
		{env: "OPENCTI_TOKEN", path: "opencti.token", required: true, secret: true,
			value: into(secretLine(), func(c *Config) *Secret { return &c.OpenCTI.Token }),
			about: "Token of the connector's user in OpenCTI."},
		{env: "OPENCTI_SSL_VERIFY", path: "opencti.ssl_verify", def: "true",
			why:   "a token must not be handed to whoever answers",
			value: into(serverTrust(), func(c *Config) *ServerTrust { return &c.OpenCTI.TLS }),
			about: "Verify OpenCTI's certificate: true, false, or the path of a PEM file with the authorities to trust."},
		{env: "OPENCTI_CUSTOM_HEADERS", path: "opencti.custom_headers", secret: true, masked: maskedHeaders,
			value: into(extraHeaders(), func(c *Config) *Headers { return &c.OpenCTI.Headers }),
			about: "Headers to add to every request to OpenCTI, as `Name: value;Other: value`."},
		{env: "OPENCTI_JSON_LOGGING", path: "opencti.json_logging", def: "true",
			value: into(boolean(), func(c *Config) *bool { return &c.OpenCTI.JSONLogging }),
			about: "Write log lines as JSON, else as text."},
	}
}

func connectorSettings() []setting {
	return []setting{
		{env: "CONNECTOR_ID", path: "connector.id", required: true, managed: true,
			value: into(uuidText(), func(c *Config) *string { return &c.Connector.ID }),
			about: "Unique UUID of this connector instance."},
		{env: "CONNECTOR_TYPE", path: "connector.type", def: "EXTERNAL_IMPORT",
			value: into(constantText("EXTERNAL_IMPORT"), func(c *Config) *string { return &c.Connector.Type }),
			about: "Type of the connector; it cannot be another."},
		{env: "CONNECTOR_NAME", path: "connector.name", def: "ThreatMatch",
			value: into(singleLine(), func(c *Config) *string { return &c.Connector.Name }),
			about: "Name of the connector in OpenCTI."},
		{env: "CONNECTOR_SCOPE", path: "connector.scope", def: "threatmatch",
			value: into(commaSeparated(), func(c *Config) *[]string { return &c.Connector.Scope }),
			about: "Scope of the connector, comma separated."},
		{env: "CONNECTOR_LOG_LEVEL", path: "connector.log_level", def: "error",
			value: into(oneOf(logLevelSpelling, LogDebug, LogInfo, LogWarn, LogError), func(c *Config) *LogLevel { return &c.Connector.LogLevel }),
			about: "Least important level to log."},
		{env: "CONNECTOR_DURATION_PERIOD", path: "connector.duration_period", def: "P1D",
			value: into(isoPeriod("run once"), func(c *Config) *Period { return &c.Connector.Period }),
			about: "Time from the end of a run to the start of the next, as an ISO 8601 duration. `PT0S` runs once."},
		{env: "CONNECTOR_RUN_AND_TERMINATE", path: "connector.run_and_terminate", def: "false",
			value: into(boolean(), func(c *Config) *bool { return &c.Connector.RunAndTerminate }),
			about: "Run once and exit: with status 0 when everything was delivered, else 1."},
		{env: "CONNECTOR_REIMPORT", path: "connector.reimport", def: "false",
			value: into(boolean(), func(c *Config) *bool { return &c.Connector.Reimport }),
			about: "Begin every dataset at `THREATMATCH_IMPORT_FROM_DATE` again and send everything again, once at each start."},
		{env: "CONNECTOR_VERIFY_AFTER", path: "connector.verify_after", def: "P7D",
			why:   "a week old, knowledge of what others can delete is worth a question, and most objects come again later than that",
			value: into(isoPeriod("never"), func(c *Config) *Period { return &c.Connector.VerifyAfter }),
			about: "How long the connector believes that OpenCTI still holds what was delivered; after that it asks before it skips such an object or refers to it, and sends again what OpenCTI has lost. A day is the finest step, 0 means never."},
		{env: "CONNECTOR_QUEUE_THRESHOLD", path: "connector.queue_threshold", def: "500",
			value: into(positiveNumber(), func(c *Config) *float64 { return &c.Connector.QueueThreshold }),
			about: "Size of the connector's queue, in MB, at which it waits for OpenCTI to catch up."},
		{env: "CONNECTOR_MAX_MESSAGE_BYTES", path: "connector.max_message_bytes", def: "15728640",
			why:   "RabbitMQ refuses more than 16 MiB unless told otherwise",
			value: into(wholeNumber(1024, 512<<20), func(c *Config) *int { return &c.Connector.MaxMessageBytes }),
			about: "Largest message to publish, in bytes; an object that would need more is left out and named in the log."},
		{env: "CONNECTOR_MEMORY", path: "connector.memory", def: "64",
			why:   "enough to keep a broker busy; with what is held in several forms on the way, the program needs about twice that",
			value: into(wholeNumber(4, 1<<20), func(c *Config) *int { return &c.Connector.Memory }),
			about: "Intelligence that is on its way at a time, from ThreatMatch's answers to RabbitMQ's confirms, in MiB. What is larger passes alone."},
		{env: "CONNECTOR_STATE_DIR", path: "connector.state_dir", def: "/var/lib/connector-threatmatch",
			why:   "it is the image's volume",
			value: into(stateFolder(), func(c *Config) *string { return &c.Connector.StateDir }),
			about: "Folder for the index of what was delivered and for what waits. Keep it on a volume: a run that does not find it again sends more than it must."},
		{env: "CONNECTOR_RELATIONS", path: "connector.relations", def: "fit",
			why:   "OpenCTI's workers drop a relation of a type that it does not take",
			value: into(oneOf(nil, RelationsFit, RelationsAsIs), func(c *Config) *Relations { return &c.Connector.Relations }),
			about: "What becomes of a relation of a type that OpenCTI does not take between its ends: `fit` gives it another that OpenCTI takes, `as-is` sends it as it came."},
		{env: "CONNECTOR_EXPOSE_METRICS", path: "connector.expose_metrics", def: "false",
			value: into(boolean(), func(c *Config) *bool { return &c.Connector.ExposeMetrics }),
			about: "Serve Prometheus metrics and health over HTTP: `/metrics`, `/healthz`, `/readyz`."},
		{env: "CONNECTOR_METRICS_PORT", path: "connector.metrics_port", def: "9095",
			value: into(wholeNumber(1, 65535), func(c *Config) *int { return &c.Connector.MetricsPort }),
			about: "Port of the metrics and of health."},
		{env: "CONNECTOR_METRICS_NAMESPACE", path: "connector.metrics_namespace",
			value: into(metricPrefix(), func(c *Config) *string { return &c.Connector.MetricsNamespace }),
			about: "First prefix of the metrics' names, which then begin with it and `_`."},
		{env: "CONNECTOR_METRICS_SUBSYSTEM", path: "connector.metrics_subsystem",
			value: into(metricPrefix(), func(c *Config) *string { return &c.Connector.MetricsSubsystem }),
			about: "Second prefix of the metrics' names."},
	}
}

func logLevelSpelling(s string) string {
	if s == "warning" {
		return string(LogWarn)
	}
	return s
}

func threatmatchSettings(now time.Time) []setting {
	return []setting{
		{env: "THREATMATCH_CLIENT_ID", path: "threatmatch.client_id", required: true,
			value: into(singleLine(), func(c *Config) *string { return &c.ThreatMatch.ClientID }),
			about: "Client id for the ThreatMatch Developer Platform."},
		{env: "THREATMATCH_CLIENT_SECRET", path: "threatmatch.client_secret", required: true, secret: true,
			value: into(secretLine(), func(c *Config) *Secret { return &c.ThreatMatch.ClientSecret }),
			about: "Client secret for the ThreatMatch Developer Platform."},
		{env: "THREATMATCH_URL", path: "threatmatch.url", def: "https://eu.threatmatch.com",
			value: into(webAddress(), func(c *Config) *string { return &c.ThreatMatch.URL }),
			about: "Base URL of the ThreatMatch API."},
		{env: "THREATMATCH_IMPORT_FROM_DATE", path: "threatmatch.import_from_date", def: "P30D",
			value: into(importStart(now), func(c *Config) *Start { return &c.ThreatMatch.ImportFrom }),
			about: "Where the first import begins: an ISO 8601 duration before now, a date (`2024-03-05`) or a time (`2024-03-05T06:07:08Z`)."},
		{env: "THREATMATCH_IMPORT_PROFILES", path: "threatmatch.import_profiles", def: "true",
			value: into(boolean(), func(c *Config) *bool { return &c.ThreatMatch.Profiles }),
			about: "Import profiles."},
		{env: "THREATMATCH_IMPORT_ALERTS", path: "threatmatch.import_alerts", def: "true",
			value: into(boolean(), func(c *Config) *bool { return &c.ThreatMatch.Alerts }),
			about: "Import alerts."},
		{env: "THREATMATCH_IMPORT_IOCS", path: "threatmatch.import_iocs", def: "true",
			value: into(boolean(), func(c *Config) *bool { return &c.ThreatMatch.IOCs }),
			about: "Import indicators of compromise."},
		{env: "THREATMATCH_IMPORT_REPORTS", path: "threatmatch.import_reports", def: "false",
			why:   "few accounts have it",
			value: into(boolean(), func(c *Config) *bool { return &c.ThreatMatch.Reports }),
			about: "Import reports, a dataset of the older API."},
		{env: "THREATMATCH_TLP_LEVEL", path: "threatmatch.tlp_level", def: "amber",
			value: into(oneOf(tlpSpelling, TLPClear, TLPWhite, TLPGreen, TLPAmber, TLPAmberStrict, TLPRed), func(c *Config) *TLP { return &c.ThreatMatch.TLP }),
			about: "Marking for objects that come without one."},
		{env: "THREATMATCH_THREAT_ACTOR_AS_INTRUSION_SET", path: "threatmatch.threat_actor_as_intrusion_set", def: "true",
			old: []string{"THREATMATCH_THREAT_ACTOR_AS_INSTRUSION_SET"}, older: []string{"threatmatch.threat_actor_as_instrusion_set"},
			value: into(boolean(), func(c *Config) *bool { return &c.ThreatMatch.ThreatActorAsIntrusionSet }),
			about: "Import threat actors as intrusion sets."},
		{env: "THREATMATCH_DESCRIPTION_FORMAT", path: "threatmatch.description_format", def: "markdown",
			why:   "OpenCTI shows descriptions as Markdown",
			value: into(oneOf(nil, DescriptionMarkdown, DescriptionText, DescriptionHTML), func(c *Config) *DescriptionFormat { return &c.ThreatMatch.DescriptionFormat }),
			about: "What becomes of ThreatMatch's HTML descriptions: `markdown`, flat `text`, or `html` as it is."},
		{env: "THREATMATCH_LABELS", path: "threatmatch.labels", def: "knowledge",
			why:   "a technique among hundreds of labels is found by nobody, as an attack pattern it is where OpenCTI looks for it",
			value: into(oneOf(nil, LabelsKnowledge, LabelsKeep, LabelsDrop), func(c *Config) *Labels { return &c.ThreatMatch.Labels }),
			about: "What becomes of ThreatMatch's labels: `knowledge` makes attack patterns of the techniques among them and keeps the rest, `keep` keeps all as labels, `drop` leaves them out."},
		{env: "THREATMATCH_OVERLAP", path: "threatmatch.overlap", def: "PT10M",
			why:   "databases that follow another one, and long transactions, are seldom later",
			value: into(isoPeriod("none"), func(c *Config) *Period { return &c.ThreatMatch.Overlap }),
			about: "How far before the start of the last import the next one looks, for what ThreatMatch shows later than its date says. What was delivered already is not sent again. 0 means not at all."},
		{env: "THREATMATCH_RATE_LIMIT", path: "threatmatch.rate_limit", def: "20",
			why:   "quick enough for a backfill, gentle enough for a shared API",
			value: into(nonNegativeNumber(), func(c *Config) *float64 { return &c.ThreatMatch.RateLimit }),
			about: "Requests a second to ThreatMatch, repeated ones included. 0 means no limit."},
		{env: "THREATMATCH_CONCURRENCY", path: "threatmatch.concurrency", def: "8",
			why:   "it keeps the rate limit busy when an answer takes 400 ms",
			value: into(wholeNumber(1, 256), func(c *Config) *int { return &c.ThreatMatch.Concurrency }),
			about: "Profiles, alerts or reports to fetch side by side."},
	}
}

func tlpSpelling(s string) string {
	return strings.TrimSpace(strings.TrimPrefix(s, "tlp:"))
}

func connectionSettings() []setting {
	return []setting{
		{env: "MQ_HOST", path: "mq.host",
			value: into(brokerHost(), func(c *Config) *string { return &c.MQ.Host }),
			about: "RabbitMQ's host, in place of the one that OpenCTI names."},
		{env: "MQ_PORT", path: "mq.port",
			value: into(wholeNumber(1, 65535), func(c *Config) *int { return &c.MQ.Port }),
			about: "RabbitMQ's port, in place of the one that OpenCTI names."},
		{env: "MQ_VHOST", path: "mq.vhost",
			value: into(singleLine(), func(c *Config) *string { return &c.MQ.VHost }),
			about: "RabbitMQ's virtual host, in place of the one that OpenCTI names."},
		{env: "MQ_USER", path: "mq.user",
			value: into(singleLine(), func(c *Config) *string { return &c.MQ.User }),
			about: "RabbitMQ's user, in place of the one that OpenCTI names."},
		{env: "MQ_PASS", path: "mq.pass", secret: true,
			value: into(secretLine(), func(c *Config) *Secret { return &c.MQ.Pass }),
			about: "That user's password."},
		{env: "MQ_USE_SSL", path: "mq.use_ssl",
			value: into(optionalBoolean(), func(c *Config) **bool { return &c.MQ.UseSSL }),
			about: "Reach RabbitMQ over TLS or not, in place of what OpenCTI says."},
		{env: "MQ_USE_SSL_CA", path: "mq.use_ssl_ca",
			value: into(certificates(), func(c *Config) *string { return &c.MQ.CA }),
			about: "Authorities to trust for RabbitMQ: PEM, or the path of a file."},
		{env: "MQ_USE_SSL_CERT", path: "mq.use_ssl_cert",
			value: into(certificates(), func(c *Config) *string { return &c.MQ.Cert }),
			about: "Client certificate for RabbitMQ: PEM, or the path of a file."},
		{env: "MQ_USE_SSL_KEY", path: "mq.use_ssl_key", secret: true,
			value: into(privateKey(), func(c *Config) *Secret { return &c.MQ.Key }),
			about: "Key of the client certificate: PEM, or the path of a file."},
		{env: "MQ_USE_SSL_PASSPHRASE", path: "mq.use_ssl_passphrase", secret: true,
			value: into(secretLine(), func(c *Config) *Secret { return &c.MQ.Passphrase }),
			about: "Passphrase of that key."},
		{env: "MQ_USE_SSL_REJECT_UNAUTHORIZED", path: "mq.use_ssl_reject_unauthorized", def: "true",
			why:   "credentials must not be handed to whoever answers",
			value: into(boolean(), func(c *Config) *bool { return &c.MQ.RejectUnauthorized }),
			about: "Verify RabbitMQ's certificate."},
		{env: "HTTP_PROXY", also: []string{"http_proxy"}, secret: true, masked: maskedProxy,
			value: into(proxyAddress(), func(c *Config) *Secret { return &c.Network.HTTPProxy }),
			about: "Proxy for plain HTTP requests."},
		{env: "HTTPS_PROXY", also: []string{"https_proxy"}, secret: true, masked: maskedProxy,
			value: into(proxyAddress(), func(c *Config) *Secret { return &c.Network.HTTPSProxy }),
			about: "Proxy for HTTPS requests."},
		{env: "NO_PROXY", also: []string{"no_proxy"},
			value: into(singleLine(), func(c *Config) *string { return &c.Network.NoProxy }),
			about: "Hosts to reach without a proxy, comma separated."},
		{env: "HTTPS_CA_CERTIFICATES",
			value: into(certificates(), func(c *Config) *string { return &c.Network.CA }),
			about: "Authorities to trust beside the system's, for every connection: PEM, or the path of a file."},
	}
}
