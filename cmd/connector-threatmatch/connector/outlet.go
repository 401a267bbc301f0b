package connector

import (
	"context"

	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/config"
	"github.com/opencti-connectors/threatmatch/cmd/connector-threatmatch/remotes"
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/apiqueue"
	"github.com/opencti-connectors/threatmatch/emit/opencti"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
)

// outlet is where the messages of a run go, and what is known of the way there.
type outlet interface {
	emit.Outlet
	Stats() rabbitmq.Stats
	// Reached returns nil once it was found that messages can go, and else why they cannot when ctx ends.
	Reached(ctx context.Context) error
	Close(ctx context.Context) error
}

// newOutlet returns where a run's messages go.
func (p *program) newOutlet(registered opencti.Registered, books *emit.Books) outlet {
	switch c := p.cfg.Connector; {
	case !c.Queues():
		return nowhere{}
	case c.QueueProtocol == config.QueueAPI:
		return throughAPI{apiqueue.New(apiqueue.Config{
			Platform: p.status.WatchPlatform(p.platform), Books: books, WindowBytes: sharesOf(p.cfg).underWay / apiCopies, Log: p.log,
		})}
	}
	publisher := p.newPublisher(registered.Queue)
	publisher.Connect() // a broker that cannot be reached is news also where there turns out to be nothing to send
	var drafts emit.Drafts
	if p.cfg.Connector.Drafts() {
		drafts = p.platform
	}
	return throughBroker{emit.NewQueueOutlet(publisher, books, registered.UserID, drafts), publisher}
}

// apiCopies is in how many texts an object is in memory while it is sent through the API: itself, in its bundle, in the request.
const apiCopies = 4

// newPublisher returns what publishes a run's messages to a queue.
func (p *program) newPublisher(queue opencti.Queue) *rabbitmq.Publisher {
	dial := p.options.Carriers.Broker
	if dial == nil {
		dial = remotes.DialBroker(p.cfg, p.keys)
	}
	return rabbitmq.New(rabbitmq.Config{
		Connection: remotes.Broker(p.cfg, p.keys, queue), Exchange: queue.Exchange, RoutingKey: queue.RoutingKey, Dial: dial, Refresh: p.refreshBroker,
		WindowBytes: sharesOf(p.cfg).underWay, RefusedFor: p.putUpWithRefusals(), Log: p.log, Alarms: p.plain,
	})
}

// throughBroker publishes to RabbitMQ.
type throughBroker struct {
	emit.Outlet
	*rabbitmq.Publisher
}

// Flush returns when all is confirmed.
func (t throughBroker) Flush(ctx context.Context, meanwhile func()) error {
	return t.Publisher.Flush(ctx, meanwhile)
}

// throughAPI hands messages to OpenCTI.
type throughAPI struct{ *apiqueue.Outlet }

// Stats tells of the calls as of a broker's session: there is one as long as OpenCTI takes bundles.
func (t throughAPI) Stats() rabbitmq.Stats {
	s := t.Outlet.Stats()
	stats := rabbitmq.Stats{
		Published: s.Sent, Confirmed: s.Confirmed, Again: s.Again, Attempts: 1,
		Unconfirmed: int(s.Sent - s.Confirmed - s.Refused), UnconfirmedBytes: s.UnderWayBytes, Connected: !s.Failing,
	}
	if !s.Failing {
		stats.Sessions = 1
	}
	return stats
}

// Reached does not try: the work, the state and the queue's size are asked for over the same way.
func (throughAPI) Reached(context.Context) error { return nil }

// nowhere is for a run whose messages do not go: it is not sent to.
type nowhere struct{ emit.Outlet }

// Stats are of one that is ready.
func (nowhere) Stats() rabbitmq.Stats { return rabbitmq.Stats{Connected: true} }

// Reached returns nil.
func (nowhere) Reached(context.Context) error { return nil }

// Close returns nil.
func (nowhere) Close(context.Context) error { return nil }
