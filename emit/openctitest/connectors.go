package openctitest

import (
	"encoding/json"
	"time"
)

func gone(id string) *failure {
	return fail("FUNCTIONAL_ERROR", "No connector found with the specified ID "+id)
}

func (p *Platform) queries() object {
	return object{
		"about": object{"version": p.cfg.Version},
		"connector": method(func(args map[string]any) (any, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			c := p.connectors[text(args["id"])]
			if c == nil {
				return nil, nil
			}
			return p.describe(c), nil
		}),
		"work": method(func(args map[string]any) (any, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if w := p.aliveWork(text(args["id"])); w != nil {
				return w.describe(), nil
			}
			return nil, nil
		}),
		"stixObjectOrStixRelationship": method(func(args map[string]any) (any, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.cfg.NoKnowledge {
				return nil, fail("FORBIDDEN_ACCESS", "You are not allowed to do this.")
			}
			id := text(args["id"])
			if !p.held[id] {
				return nil, nil
			}
			return object{"__typename": typeOf(id), "id": id}, nil
		}),
	}
}

func (p *Platform) mutations() object {
	return object{
		"registerConnector": method(p.register),
		"pingConnector":     method(p.ping),
		"deleteConnector": method(func(args map[string]any) (any, error) {
			id := text(args["id"])
			p.mu.Lock()
			known := p.connectors[id] != nil
			p.mu.Unlock()
			if !known {
				return nil, gone(id)
			}
			return id, p.removeConnector(id)
		}),
		"workAdd":        method(p.workAdd),
		"workEdit":       method(p.workEdit),
		"stixBundlePush": method(p.bundlePush),
		"uploadPending":  method(p.uploadPending),
	}
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
	if err := p.declare(r.ID); err != nil {
		return nil, fail("UNKNOWN_ERROR", err.Error())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now().UTC()
	r.Time = now
	c := p.connectors[r.ID]
	if c == nil {
		c = &connector{id: r.ID, state: p.seedState, stateTime: p.after(time.Time{}), created: now}
		p.connectors[r.ID], p.seedState = c, nil
	}
	c.name, c.kind, c.scope, c.updated = r.Name, r.Type, r.Scope, now
	p.current = r.ID
	p.registrations = keep(p.registrations, r)
	return p.describe(c), nil
}

// ping stores the state, unless a reset has marked the connector: then the empty state is the answer, and the mark goes.
func (p *Platform) ping(args map[string]any) (any, error) {
	id := text(args["id"])
	sent, _ := args["state"].(string)
	ping := Ping{ConnectorID: id, State: sent, Time: p.cfg.Now().UTC()}
	info, hasInfo := args["connectorInfo"].(map[string]any)
	if hasInfo {
		ping.Info = readInfo(info)
	}
	p.mu.Lock()
	hook := p.onPing
	p.mu.Unlock()
	if hook != nil {
		hook(ping)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.connectors[id]
	if c == nil {
		return nil, gone(id)
	}
	c.updated = ping.Time
	if hasInfo {
		c.info = &ping.Info
	}
	echo := c.state
	if c.reset {
		c.reset = false
	} else {
		ping.Stored = true
		c.state = nil
		if args["state"] != nil {
			c.state = &sent
		}
		if p.stale > 0 {
			p.stale--
		} else {
			echo = c.state
		}
	}
	ping.Answer = deref(echo)
	p.pings = keep(p.pings, ping)
	told := p.describe(c)
	told["connector_state"] = nullable(echo)
	return told, nil
}

// describe returns the connector as the schema has it; the caller holds the lock.
func (p *Platform) describe(c *connector) object {
	id := c.id
	d := object{
		"id": id, "name": c.name, "active": true,
		"connector_type": c.kind, "connector_scope": c.scope,
		"connector_state":           nullable(c.state),
		"connector_state_reset":     c.reset,
		"connector_state_timestamp": date(c.stateTime),
		"connector_user_id":         p.cfg.UserID,
		"connector_queue_details":   method(func(map[string]any) (any, error) { return p.queueDetails(id) }),
		"connector_info":            nil,
		"config":                    method(func(map[string]any) (any, error) { return p.queueConfig(id) }),
		"updated_at":                date(c.updated),
		"created_at":                date(c.created),
	}
	if i := c.info; i != nil {
		d["connector_info"] = object{
			"run_and_terminate": i.RunAndTerminate, "buffering": i.Buffering,
			"queue_threshold": i.QueueThreshold, "queue_messages_size": i.QueueMessagesSize,
			"next_run_datetime": orNull(i.NextRun), "last_run_datetime": orNull(i.LastRun),
		}
	}
	return d
}

func (p *Platform) queueDetails(id string) (any, error) {
	p.mu.Lock()
	override := p.queue
	p.mu.Unlock()
	if override != nil {
		return object{"messages_number": override.Messages, "messages_size": override.Bytes}, nil
	}
	size, err := p.depth(id)
	if err != nil {
		return nil, fail("UNKNOWN_ERROR", err.Error())
	}
	return object{"messages_number": size.Messages, "messages_size": size.Bytes}, nil
}

func (p *Platform) queueConfig(id string) (any, error) {
	uri, err := p.connection()
	if err != nil {
		return nil, err
	}
	return object{
		"connection": object{
			"host": uri.Host, "port": uri.Port, "vhost": uri.Vhost, "use_ssl": uri.Scheme == "amqps",
			"user": uri.Username, "pass": uri.Password,
		},
		"s3": object{
			"endpoint": "localhost", "port": 9000, "use_ssl": false, "bucket_name": "opencti-bucket", "bucket_region": "us-east-1",
			"access_key": "", "secret_key": "",
		},
		"listen": listenQueue(id), "listen_routing": "listen_routing_" + id, "listen_exchange": connectorExchange,
		"listen_callback_uri": nil,
		"push":                pushQueue(id), "push_routing": "push_routing_" + id, "push_exchange": workerExchange,
		"dead_letter_routing": "dead_letter_routing_" + id,
	}, nil
}

func readInfo(in map[string]any) Info {
	return Info{
		RunAndTerminate: in["run_and_terminate"] == true, Buffering: in["buffering"] == true,
		QueueThreshold: number(in["queue_threshold"]), QueueMessagesSize: number(in["queue_messages_size"]),
		NextRun: text(in["next_run_datetime"]), LastRun: text(in["last_run_datetime"]),
	}
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func nullable(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// text reads an argument that validation has found to be a text or an id.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		if s := text(v); s != "" {
			return []string{s}
		}
		return nil
	}
	var out []string
	for _, s := range list {
		out = append(out, text(s))
	}
	return out
}

func number(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	case json.Number:
		f, _ := v.Float64()
		return f
	}
	return 0
}
