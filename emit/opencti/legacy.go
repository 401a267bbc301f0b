package opencti

import (
	"errors"
	"slices"
)

// Members of the schema that older platforms do not know.
const (
	stateTimestamp     = "connector_state_timestamp"
	multiPartWork      = "isMultiPartWork"
	lastSeen           = "last_seen_at"
	connectorInfo      = "connectorInfo"
	connectorInfoInput = "ConnectorInfoInput"
	listenCallback     = "listen_callback_uri"
	playbookCompatible = "playbook_compatible"
	onlyContextual     = "only_contextual"
	objectsByFilter    = "stixObjectOrStixRelationships"
	filterValue        = "Any"
	confidenceLevel    = "effective_confidence_level"
)

func (c *Client) lacking(member string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lacks[member]
}

// forget makes the next calls try all members again: a platform that registers the connector may have been upgraded.
func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.lacks)
}

// learn reports whether the call failed because the platform does not know one of the members, and remembers which.
func (c *Client) learn(err error, members ...string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	learnt := false
	for _, m := range members {
		if slices.Contains(e.unknown, m) {
			c.lacks[m] = true
			learnt = true
		}
	}
	return learnt
}

// adapting makes a call, and makes it again when it fails for members that the platform does not know. A call that failed
// so was not executed, so that even a mutation may be sent again without them. Calls side by side may learn of the same
// member, and a registration forget it meanwhile: so it is the number of attempts that ends this, one for each member.
func (c *Client) adapting(call func() error, members ...string) error {
	err := call()
	for range members {
		if err == nil || !c.learn(err, members...) {
			return err
		}
		err = call()
	}
	return err
}
