package opencti

import "errors"

// Members of the schema that older platforms do not know.
const (
	stateTimestamp     = "connector_state_timestamp"
	multiPartWork      = "isMultiPartWork"
	connectorInfo      = "connectorInfo"
	connectorInfoInput = "ConnectorInfoInput"
	listenCallback     = "listen_callback_uri"
	playbookCompatible = "playbook_compatible"
	onlyContextual     = "only_contextual"
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

// learn reports whether the call failed because the platform does not know one of the members, and remembers which. A
// call that failed so was not executed, so that even a mutation may be sent again without them.
func (c *Client) learn(err error, members ...string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	learnt := false
	for _, name := range e.unknown {
		for _, m := range members {
			if name == m && !c.lacks[m] {
				c.lacks[m] = true
				learnt = true
			}
		}
	}
	return learnt
}

// adapting makes a call, again for as long as it fails for a member that was not known to be missing.
func (c *Client) adapting(call func() error, members ...string) error {
	for {
		err := call()
		if err == nil || !c.learn(err, members...) {
			return err
		}
	}
}
