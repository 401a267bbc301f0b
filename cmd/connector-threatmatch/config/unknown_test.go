package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config/configtest"
)

func TestAMisspelledOrForeignVariableGivesAWarning(t *testing.T) {
	for name, tt := range map[string]struct{ value, want string }{
		"OPENCTI_URL_FILE":           {"/run/url", " is no setting and is ignored, for only secrets are read from files like that; set OPENCTI_URL"},
		"THREATMATCH_CLIENT_ID_FILE": {"/run/id", " is no setting and is ignored, for only secrets are read from files like that; set THREATMATCH_CLIENT_ID"},
		"CONNECTOR_CONFIDENCE_LEVEL": {"80", " is ignored: it was given up; OpenCTI takes the confidence from the connector's user"},
		"THREATMATCH_CLIENT_SECRETT": {configtest.ClientSecret, " is no setting and is ignored; did you mean THREATMATCH_CLIENT_SECRET?"},
		"THREATMATCH_IMPORTFROM":     {"P1Y", " is no setting and is ignored; did you mean THREATMATCH_IMPORT_FROM_DATE?"},
		"THREATMATCH_IMPORT":         {"x", " is no setting and is ignored; `config show --explain` lists all that there are"},
		"THREATMATCH_COLOUR":         {"x", " is no setting and is ignored; `config show --explain` lists all that there are"},
		"THREATMATCH_PORT":           {"443", " is no setting and is ignored; did you mean"},
		"threatmatch_url":            {"x", " is no setting and is ignored; did you mean THREATMATCH_URL?"},
		"TREATMATCH_URL":             {"x", " is no setting and is ignored; did you mean THREATMATCH_URL?"},
		"THREAT_MATCH_CLIENT_ID":     {"x", " is no setting and is ignored; did you mean THREATMATCH_CLIENT_ID?"},
		"CONECTOR_LOG_LEVEL":         {"info", " is no setting and is ignored; did you mean CONNECTOR_LOG_LEVEL?"},
		"CONNECTOR_LOGLEVEL":         {"info", " is no setting and is ignored; did you mean CONNECTOR_LOG_LEVEL?"},
		"OPEN_CTI_URL":               {"x", " is no setting and is ignored; did you mean OPENCTI_URL?"},
		"OPENCTI_URI":                {"x", " is no setting and is ignored; did you mean OPENCTI_URL?"},
		"MQ_HOSTNAME":                {"x", " is no setting and is ignored; did you mean MQ_HOST?"},
		"MQ_PASSWORD":                {"x", " is no setting and is ignored; did you mean MQ_PASS?"},
		"MQ_PORT":                    {"tcp://10.0.0.1:5672", " is ignored: it is no port but the link to a service"},
		"CONNECTOR_METRICS_PORT":     {" tcp://10.0.0.1:9095", " is ignored: it is no port but the link to a service"},
	} {
		_, warnings, err := Load("", false, configtest.Environ(map[string]string{name: tt.value}))
		if err != nil || len(warnings) != 1 || !strings.HasPrefix(string(warnings[0]), name+tt.want) {
			t.Errorf("%s: %q, %v", name, warnings, err)
		}
	}
}

// TestTheVariablesOfOthersGiveNoWarning has what OpenCTI's images and compose files, its other connectors, and Kubernetes set.
func TestTheVariablesOfOthersGiveNoWarning(t *testing.T) {
	others := map[string]string{"CONNECTOR_VALIDATE_BEFORE_IMPORT": "false", "CONNECTOR_UPDATE_EXISTING_DATA": "false", "CONNECTOR_SEND_TO_QUEUE": "true", "CONNECTOR_QUEUE_PROTOCOL": "amqp", "THREATMATCH_PORT": "tcp://10.0.0.1:9095"}
	for name := range strings.FieldsSeq(`PATH HOME HOSTNAME LANG TZ PYTHONUNBUFFERED NODE_OPTIONS ALL_PROXY FTP_PROXY all_proxy
		SMTP_HOSTNAME DB_HOST DB_PORT PG_USER DB_PASS SQS_URL COLLECTOR_ID COLLECTOR_NAME CONNECTION_ID CONNECTION_TYPE AMQ_HOST
		RABBITMQ_DEFAULT_USER RABBITMQ_DEFAULT_PASS RABBITMQ__HOSTNAME RABBITMQ__PORT RABBITMQ__USE_SSL APP__BASE_URL MINIO_ROOT_USER
		MQ_QMGR_NAME MQ_APP_PASSWORD MQ_TYPE MQ_NAME MQ_PASSFILE MQ_HOSTS_FILE
		OPENCTI_HOST OPENCTI_PORT OPENCTI_BASE_URL OPENCTI_EXTERNAL_SCHEME OPENCTI_ADMIN_EMAIL OPENCTI_ADMIN_PASSWORD OPENCTI_ADMIN_TOKEN
		OPENCTI_HEALTHCHECK_ACCESS_KEY OPENCTI_ENCRYPTION_KEY OPENCTI_CONFIG_FILE OPENCTI_VERSION OPENCTI_PORT_8080_TCP_ADDR
		CONNECTOR_AUTO CONNECTOR_ONLY_CONTEXTUAL CONNECTOR_LIVE_STREAM_ID CONNECTOR_LIVE_STREAM_LISTEN_DELETE
		CONNECTOR_LIVE_STREAM_NO_DEPENDENCIES CONNECTOR_LIVE_STREAM_START_TIMESTAMP CONNECTOR_PLAYBOOK_COMPATIBLE
		CONNECTOR_LISTEN_PROTOCOL CONNECTOR_LISTEN_PROTOCOL_API_PORT 
		CONNECTOR_RUN_EVERY CONNECTOR_INTERVAL CONNECTOR_MAX_TLP CONNECTOR_IDENTITY CONNECTOR_VERSION CONNECTOR_URL CONNECTOR_SSL CONNECTOR_IDLE
		CONNECTOR_EXPORT_FILE_STIX_ID CONNECTOR_IMPORT_DOCUMENT_ID CONNECTOR_OPENCTI_ID CONNECTOR_MITRE_ID CONNECTOR_ANALYSIS_ID
		CONNECTOR_THREATMATCH_SERVICE_HOST THREATMATCH_SERVICE_HOST THREATMATCH_SERVICE_PORT THREATMATCH_SERVICE_PORT_METRICS
		THREATMATCH_PORT_9095_TCP THREATMATCH_PORT_9095_TCP_PROTO`) {
		others[name] = "x"
	}
	_, warnings, err := Load("", false, configtest.Environ(others))
	if err != nil || !slices.Equal(warnings, nil) {
		t.Errorf("%q, %v", warnings, err)
	}
}

func TestALinkToAServiceCountsAsNotSet(t *testing.T) {
	path := writeFile(t, "mq:\n  port: 5673\n")
	for file, want := range map[string]int{"": 0, path: 5673} {
		cfg, warnings, err := Load(file, false, configtest.Environ(map[string]string{"MQ_PORT": "tcp://10.0.0.1:5672"}))
		if err != nil || cfg.MQ.Port != want || len(warnings) != 1 {
			t.Errorf("with the file %q the port is %d, want %d: %q, %v", file, cfg.MQ.Port, want, warnings, err)
		}
	}
}
