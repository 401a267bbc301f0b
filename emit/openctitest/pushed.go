package openctitest

import (
	"encoding/json"
	"slices"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// splitsSince is the first release that splits a bundle itself, as it is pushed. Before, a worker does when it comes to it.
const splitsMajor, splitsMinor = 7, 260820

func invalidBundle() *failure { return fail("UNSUPPORTED_ERROR", "Invalid bundle") }

// pushBundle puts a bundle into the queue of its connector. Whatever goes wrong is answered alike.
func (p *Platform) pushBundle(args map[string]any) (any, error) {
	id, work, whole := text(args["connectorId"]), text(args["work_id"]), text(args["bundle"])
	var bundle struct {
		Type    string            `json:"type"`
		Objects []json.RawMessage `json:"objects"`
	}
	if json.Unmarshal([]byte(whole), &bundle) != nil || bundle.Type != "bundle" || len(bundle.Objects) == 0 {
		return nil, invalidBundle()
	}
	p.mu.Lock()
	known, splits := p.connectors[id] != nil, p.cfg.since(splitsMajor, splitsMinor)
	p.mu.Unlock()
	if !known || work == "" { // no connector that opens its works itself leaves it out
		return nil, invalidBundle()
	}
	pieces, split := []string{whole}, false
	if splits {
		if len(bundle.Objects) > 1 {
			var err error
			if pieces, err = splitBundle(bundle.Objects); err != nil {
				return nil, invalidBundle()
			}
			split = true
		}
		p.mu.Lock()
		if w := p.aliveWork(work); w != nil {
			w.expect(len(pieces))
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	queued := p.onQueued
	p.mu.Unlock()
	if err := p.queues.push(id, p.pushedMessages(work, pieces, split), queued); err != nil {
		return nil, invalidBundle()
	}
	return true, nil
}

// pushedMessages are the messages for the worker.
func (p *Platform) pushedMessages(work string, bundles []string, split bool) [][]byte {
	var messages [][]byte
	for _, bundle := range bundles {
		message := map[string]any{
			"type": "bundle", "applicant_id": p.cfg.UserID, "content": []byte(bundle), "work_id": work, "update": true,
		}
		if split {
			message["no_split"] = true
		}
		body, err := json.Marshal(message)
		if err != nil {
			panic("marshal a message: " + err.Error()) // cannot happen: it holds texts
		}
		messages = append(messages, body)
	}
	return messages
}

// splitBundle makes a bundle of each object, those that others refer to first. Of several with one id the last one stays.
func splitBundle(objects []json.RawMessage) ([]string, error) {
	byID, refs := map[string]json.RawMessage{}, map[string][]string{}
	var ids []string
	for _, raw := range objects {
		a, err := readArrival(raw)
		if err != nil {
			return nil, err
		}
		if byID[a.id] == nil {
			ids = append(ids, a.id)
		}
		byID[a.id], refs[a.id] = raw, a.refs
	}
	depth := map[string]int{}
	var depthOf func(id string) int
	depthOf = func(id string) int {
		if n, seen := depth[id]; seen || byID[id] == nil {
			return n
		}
		depth[id] = 1 // what refers back to it finds that
		sum := 1
		for _, ref := range refs[id] {
			sum += depthOf(ref)
		}
		depth[id] = sum
		return sum
	}
	slices.SortStableFunc(ids, func(a, b string) int { return depthOf(a) - depthOf(b) })
	var out []string
	for _, id := range ids {
		out = append(out, strings.Join([]string{`{"type":"bundle","id":"bundle--split","spec_version":"2.1","x_opencti_seq":1,"objects":[`, string(byID[id]), `]}`}, ""))
	}
	return out, nil
}

// push publishes messages to the queue that the workers read, and returns when the broker has them.
func (q *queues) push(id string, messages [][]byte, queued func(body []byte)) error {
	return q.visit(func(ch *amqp.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		for _, body := range messages {
			confirm, err := ch.PublishWithDeferredConfirm(workerExchange, "push_routing_"+id, false, false, amqp.Publishing{
				DeliveryMode: amqp.Persistent, ContentEncoding: "utf-8", Body: body,
			})
			if err != nil {
				return err
			}
			if !confirm.Wait() {
				return amqp.ErrClosed
			}
			if queued != nil {
				queued(body)
			}
		}
		return nil
	})
}
