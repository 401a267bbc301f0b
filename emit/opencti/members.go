package opencti

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode"

	"go.uber.org/zap"
)

// Members of the schema whose lack is not only left out of what is asked.
const (
	connectorInfo      = "connectorInfo"
	connectorInfoInput = "ConnectorInfoInput"
	connectorMember    = "connector"
	workMember         = "work"
	queueDetails       = "connector_queue_details"
	messagesNumber     = "messages_number"
	messagesSize       = "messages_size"
	activeMember       = "active"
	lastSeen           = "last_seen_at"
	virtualHost        = "vhost"
	userID             = "connector_user_id"
	confidenceLevel    = "effective_confidence_level"
)

const (
	noThreshold = "CONNECTOR_QUEUE_THRESHOLD has no effect, for OpenCTI does not tell how much waits in the queue"
	noFollowing = "imports that fail at OpenCTI are not sent again"
	tellBroker  = "OpenCTI does not tell all of how to reach RabbitMQ: set "
)

// dispensable are the members that a platform may lack, be it older or newer than the connector: what is asked is asked without
// them. The text says what is lost by it, nothing where it makes no difference worth telling.
var dispensable = map[string]string{
	// Of registrations and pings.
	"auto": "", "only_contextual": "", "playbook_compatible": "", "listen_callback_uri": "",
	connectorInfo: "", connectorInfoInput: "",
	"run_and_terminate": "", "buffering": "", "queue_threshold": "", "queue_messages_size": "", "next_run_datetime": "", "last_run_datetime": "",
	"connector_state_timestamp": "",
	userID:                      "", // that of the token

	// Of the broker.
	"config": tellBroker + "MQ_HOST and the others of MQ_*", "connection": tellBroker + "MQ_HOST and the others of MQ_*",
	"host": tellBroker + "MQ_HOST", virtualHost: tellBroker + "MQ_VHOST where it is not /", "use_ssl": tellBroker + "MQ_USE_SSL where it is true",
	"port": tellBroker + "MQ_PORT", "user": tellBroker + "MQ_USER", "pass": tellBroker + "MQ_PASS",

	// Of connectors.
	connectorMember: "a state that another instance has stored is not noticed before it is covered, and " + noThreshold,
	"connectors":    "", "resetStateConnector": "", activeMember: "", lastSeen: "", "updated_at": "", "connector_state_reset": "",
	queueDetails: noThreshold, messagesNumber: noThreshold, messagesSize: noThreshold,

	// Of works.
	"isMultiPartWork": "",
	workMember:        "a run does not notice that its work was deleted, and " + noFollowing,
	"status":          noFollowing, "errors": noFollowing, "source": noFollowing, "message": "", "timestamp": "", "processed_time": "",
	"tracking": noFollowing, "import_expected_number": noFollowing, "import_processed_number": noFollowing,

	// Of knowledge and users.
	objectsByFilter: "", filterValue: "", "pageInfo": "", "endCursor": "", "hasNextPage": "", "BasicObject": "",
	"standard_id": "", "x_opencti_stix_ids": "", "StixObject": "", "BasicRelationship": "", "StixRelationship": "",
	"stixObjectOrStixRelationship": "what ThreatMatch refers to without bringing it is not looked for at OpenCTI",
	relationTypes:                  "relations are sent as a recent release takes them",
	"me":                           "", "user_email": "", "capabilities": "", confidenceLevel: "", "max_confidence": "",
}

// indispensable are the members without which the connector cannot work, and why.
var indispensable = map[string]string{
	"registerConnector": "it cannot make itself known", "RegisterConnectorInput": "it cannot make itself known",
	"id": "it cannot say which connector it is", "name": "it cannot make itself known", "type": "it cannot say what kind of connector it is",
	"scope": "it cannot make itself known", "push_exchange": "nothing tells where its messages go", "push_routing": "nothing tells where its messages go",
	"pingConnector": "it cannot keep its state there", "state": "it cannot keep its state there", "connector_state": "it cannot keep its state there",
	"workAdd": "its runs need a work", "connectorId": "its runs need a work", "friendlyName": "its runs need a work",
	"workEdit": "its runs need a work", "addExpectations": "a work has to know what to expect", "expectations": "a work has to know what to expect",
	"toProcessed": "a work has to end", "inError": "a work has to end",
}

// chosen are the members that only a setting asks for: what a release needs to have them, and what to set where it has not.
var chosen = map[string]struct{ needs, remedy string }{
	"draftWorkspaceAdd": noDrafts, "DraftWorkspaceAddInput": noDrafts, "addDraftContext": noDrafts,
	"stixBundlePush": {"bundles through the API need OpenCTI 6.3", "set CONNECTOR_QUEUE_PROTOCOL=amqp"},
	"uploadPending":  {"this OpenCTI has no workbenches", "set CONNECTOR_VALIDATE_BEFORE_IMPORT=false"},
}

var noDrafts = struct{ needs, remedy string }{"drafts need OpenCTI 6.4", "set CONNECTOR_VALIDATION_MODE=workbench"}

// TakesDrafts asks, without making one, whether the platform has drafts. An error of which [ChosenWay] tells says that it has none.
func (c *Client) TakesDrafts(ctx context.Context) error {
	return c.takes(ctx, draftWorkspaceAdd_Operation+addDraftContext_Operation)
}

// TakesBundles asks, without sending one, whether the platform's API takes bundles. An error of which [ChosenWay] tells says that it
// does not.
func (c *Client) TakesBundles(ctx context.Context) error { return c.takes(ctx, stixBundlePush) }

// takes has operations looked through and none of them carried out.
func (c *Client) takes(ctx context.Context, operations string) error {
	var none struct{}
	return c.do(ctx, "survey", "query survey { __typename }\n"+operations, nil, &none)
}

// survey has all that a platform may lack in one document, of which it carries out what changes nothing and asks for nothing. A
// platform checks a document as a whole, and tells all at once that it does not know.
const survey = `query survey { __typename }
query surveyed($ids: [Any!]!) {
  connector(id: "") { active updated_at connector_state connector_state_reset connector_state_timestamp connector_user_id
    connector_queue_details { messages_number messages_size }
    config { connection { host vhost use_ssl port user pass } push_exchange push_routing } }
  work(id: "") { status processed_time tracking { import_expected_number import_processed_number } errors { timestamp message source } }
  stixObjectOrStixRelationship(id: "") { __typename }
  stixObjectOrStixRelationships(first: 1, after: "", filters: {mode: and, filters: [{key: ["ids"], values: $ids}], filterGroups: []}) {
    pageInfo { hasNextPage endCursor }
    edges { node { ... on BasicObject { id standard_id } ... on StixObject { x_opencti_stix_ids } ... on BasicRelationship { id standard_id } ... on StixRelationship { x_opencti_stix_ids } } } }
  schemaRelationsTypesMapping { key values }
}
mutation surveyedToo($info: ConnectorInfoInput) {
  registerConnector(input: {id: "survey", name: "survey", type: EXTERNAL_IMPORT, scope: [], auto: false, only_contextual: false, playbook_compatible: false, listen_callback_uri: null}) { __typename }
  pingConnector(id: "", state: "", connectorInfo: $info) { __typename }
  workAdd(connectorId: "", friendlyName: "", isMultiPartWork: true) { id }
}`

// look asks the platform once what it knows, for it may have been upgraded. One that does not say is found out as it refuses what is
// asked of it. Until it has answered what it lacked before counts: answers to what others have asked without that are still to be read.
func (c *Client) look(ctx context.Context) error {
	var none struct{}
	err := c.do(ctx, "survey", survey, nil, &none)
	var e *Error
	if err != nil && (!errors.As(err, &e) || e.Temporary || ctx.Err() != nil) {
		return err
	}
	lacks := map[lesson]*Error{}
	if e != nil {
		for _, l := range lessons(e, survey) {
			lacks[l] = e
		}
	}
	c.mu.Lock()
	c.lacks = lacks
	c.mu.Unlock()
	c.tell(lacks)
	return nil
}

// lacking reports whether the platform is known to lack one of some members.
func (c *Client) lacking(members ...string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.lacks {
		if slices.Contains(members, l.name) {
			return true
		}
	}
	return false
}

// learn remembers which members of a question the platform does not know and the connector can do without. It reports whether there
// are any.
func (c *Client) learn(e *Error, question string) bool {
	learnt := map[lesson]*Error{}
	c.mu.Lock()
	for _, l := range lessons(e, question) {
		learnt[l] = e
		if c.lacks[l] == nil {
			c.lacks[l] = e
		}
	}
	c.mu.Unlock()
	c.tell(learnt)
	return len(learnt) > 0
}

// lessons are what an answer to a question says that the platform lacks, as far as the connector can do without.
func lessons(e *Error, question string) (list []lesson) {
	for _, l := range e.unknown {
		_, may := dispensable[l.name]
		// Words of a sentence that is not understood must not take away what is called by a common one.
		if may && (!e.guessed || isDistinct(l.name)) && namesAny(question, []lesson{l}) {
			list = append(list, l)
		}
	}
	return list
}

// tell says once what is lost by what is lacking.
func (c *Client) tell(lacks map[lesson]*Error) {
	for l := range lacks {
		c.mu.Lock()
		told := c.told[l.name]
		c.told[l.name] = true
		c.mu.Unlock()
		if loss := dispensable[l.name]; loss != "" && !told {
			c.log.Warn("this release of OpenCTI lacks something that the connector asks for", zap.String("member", l.name), zap.String("lost", loss))
		}
	}
}

// isDistinct reports whether a name is made of several words.
func isDistinct(name string) bool {
	return strings.ContainsFunc(name[1:], func(r rune) bool { return r == '_' || unicode.IsUpper(r) })
}
