package openctitest

import (
	"maps"
	"slices"
	"time"
)

func gone(id string) *failure {
	return fail("FUNCTIONAL_ERROR", "No connector found with the specified ID "+id)
}

func (p *Platform) register(args map[string]any) (any, error) {
	in, _ := args["input"].(map[string]any)
	r := Registration{
		ID: text(in["id"]), Name: text(in["name"]), Type: text(in["type"]), Scope: texts(in["scope"]),
		Auto: in["auto"] == true, OnlyContextual: in["only_contextual"] == true,
		PlaybookCompatible: in["playbook_compatible"] == true,
	}
	if r.ID == "" || r.Name == "" {
		return nil, fail("FUNCTIONAL_ERROR", "a connector needs an id and a name")
	}
	if err := p.queues.declare(r.ID); err != nil {
		return nil, fail("UNKNOWN_ERROR", err.Error())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r.Time = time.Now().UTC()
	c := p.connectors[r.ID]
	if c == nil {
		c = &connector{id: r.ID, stored: stored{p.seedState, laterThan(time.Time{})}}
		p.connectors[r.ID], p.seedState = c, nil
	}
	c.name, c.kind, c.scope, c.heard, c.updated = r.Name, r.Type, r.Scope, r.Time, r.Time
	p.current = r.ID
	p.registrations = keep(p.registrations, r)
	return p.describe(c, c.shown(p.lag)), nil
}

// ping stores the state of whoever calls, unless a reset has marked the connector: then the empty state is the answer, and the
// mark goes, whoever else has not heard of it. As there, the mark is read first, then the queues are declared, then the state is
// written: what happens in between is covered.
func (p *Platform) ping(args map[string]any) (any, error) {
	id := text(args["id"])
	sent, _ := args["state"].(string)
	info, _ := args["connectorInfo"].(map[string]any)
	ping := Ping{State: sent, Info: readInfo(info), Time: time.Now().UTC()}
	p.mu.Lock()
	hook, c := p.onPing, p.connectors[id]
	ping.Marked = c != nil && c.reset
	p.mu.Unlock()
	if c == nil {
		return nil, gone(id)
	}
	if err := p.queues.declare(id); err != nil {
		return nil, fail("UNKNOWN_ERROR", err.Error())
	}
	if hook != nil {
		hook(ping)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c = p.connectors[id]; c == nil {
		return nil, gone(id)
	}
	echo := c.stored
	c.heard, c.updated = ping.Time, ping.Time
	if ping.Marked {
		c.reset = false
	} else {
		ping.Stored = true
		now := stored{nil, c.stateTime}
		if args["state"] != nil {
			now.state = &sent
		}
		c.store(now, p.lag)
		if p.stale > 0 {
			p.stale--
		} else {
			echo = now
		}
	}
	p.pings = keep(p.pings, ping)
	if p.lag > 0 && p.pingsLag {
		echo = c.shown(p.lag)
	}
	return p.describe(c, echo), nil
}

// resetState is the reset as an operator's browser asks for it. As there, the state is gone before the queues are purged, so
// that a call which fails for a queue may have reset the connector.
func (p *Platform) resetState(args map[string]any) (any, error) {
	id := text(args["id"])
	p.mu.Lock()
	c := p.connectors[id]
	if c == nil {
		p.mu.Unlock()
		return nil, fail("FUNCTIONAL_ERROR", "Cant find element to update")
	}
	c.empty(p.lag)
	answer, purges := p.describe(c, c.stored), p.cfg.purgesQueues()
	p.mu.Unlock()
	if !purges {
		return answer, nil
	}
	if err := p.queues.purge(id); err != nil {
		return nil, fail("UNKNOWN_ERROR", err.Error())
	}
	return answer, nil
}

// describe returns the connector as the schema has it, with what is shown of its state; the caller holds the lock.
func (p *Platform) describe(c *connector, shown stored) object {
	id := c.id
	seen := c.heard
	if p.schema.Types["Connector"].Fields.ForName("last_seen_at") == nil {
		seen = c.updated // such a release knows no better
	}
	return object{
		"id":                        id,
		"name":                      c.name,
		"active":                    !seen.IsZero() && time.Since(seen) < listening,
		"last_seen_at":              dateOrNull(c.heard),
		"updated_at":                dateOrNull(c.updated),
		"connector_state_reset":     c.reset,
		"connector_state":           nullable(shown.state),
		"connector_state_timestamp": date(shown.stateTime),
		"connector_user_id":         p.cfg.UserID,
		"connector_queue_details":   method(func(map[string]any) (any, error) { return p.queueDetails(id) }),
		"connector_type":            c.kind,
		"connector_scope":           c.scope,
		"auto":                      false,
		"only_contextual":           false,
		"built_in":                  id == builtIn,
		"created_at":                date(c.stateTime),
		"connector_info":            nil,           // nobody has asked for what is in it
		"jwks":                      `{"keys":[]}`, // the platform asks nothing of connectors over HTTP
		"config":                    method(func(map[string]any) (any, error) { return p.queueConfig(id) }),
	}
}

// builtIn is a connector that a platform has from its start.
const builtIn = "d336676c-4ee5-4257-96ff-b2a86688d4af"

// allConnectors lists those that have registered, by their ids, and what the release brings along.
func (p *Platform) allConnectors(map[string]any) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := []object{}
	for _, id := range slices.Sorted(maps.Keys(p.connectors)) {
		c := p.connectors[id]
		list = append(list, p.describe(c, c.shown(p.lag)))
	}
	if p.cfg.since(6, 0) {
		c := &connector{id: builtIn, name: "[FILE] CSV Mapper import", heard: time.Now(), updated: time.Now()}
		list = append(list, p.describe(c, c.stored))
	}
	return list, nil
}

func (p *Platform) findConnector(args map[string]any) (any, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.connectors[text(args["id"])]; c != nil {
		return p.describe(c, c.shown(p.lag)), nil
	}
	return nil, nil
}

func (p *Platform) queueDetails(id string) (any, error) {
	p.mu.Lock()
	override := p.queue
	p.mu.Unlock()
	if override != nil {
		return object{"messages_number": override.messages, "messages_size": override.bytes}, nil
	}
	size, err := p.queues.depth(id)
	if err != nil {
		return nil, fail("UNKNOWN_ERROR", err.Error())
	}
	return object{"messages_number": size.messages, "messages_size": size.bytes}, nil
}

func (p *Platform) queueConfig(id string) (any, error) {
	uri, err := p.queues.connection()
	if err != nil {
		return nil, err
	}
	return object{
		"connection": object{
			"host": uri.Host, "port": uri.Port, "vhost": uri.Vhost, "use_ssl": uri.Scheme == "amqps",
			"user": uri.Username, "pass": uri.Password,
		},
		"s3":     p.storage(),
		"listen": listenQueue(id), "listen_routing": "listen_routing_" + id, "listen_exchange": connectorExchange,
		"push": pushQueue(id), "push_routing": "push_routing_" + id, "push_exchange": workerExchange,
	}, nil
}

func (p *Platform) storage() object {
	s := p.cfg.Storage
	told := object{
		"endpoint": s.Endpoint, "port": s.Port, "use_ssl": s.UseSSL, "bucket_name": s.Bucket, "bucket_region": s.Region,
		"access_key": nil, "secret_key": nil,
	}
	if s.AccessKey != "" {
		told["access_key"], told["secret_key"] = s.AccessKey, s.SecretKey
	}
	return told
}
