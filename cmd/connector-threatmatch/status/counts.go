package status

import (
	"github.com/opencti-connectors/threatmatch/emit"
	"github.com/opencti-connectors/threatmatch/emit/rabbitmq"
	"github.com/opencti-connectors/threatmatch/pipeline"
)

// counts are figures since the start that nothing else keeps.
type counts struct {
	runs, failedRuns  int64
	pings, pingErrors int64
	calls             int64            // to the platform, pings not included
	objects           emit.Account     // of the runs that have ended
	broker            rabbitmq.Stats   // of the same
	passed            pipeline.Reading // of the same, but for what is of the moment
}

type datasetCounts struct{ pages, items, leftOut, problems int64 }

// traces are what a run that gets on, or waits and tries again, leaves behind: as long as one of them changes, it lives.
type traces struct {
	runs, pages, calls, requests int64
	broker                       rabbitmq.Stats
}

func addAccounts(a, b emit.Account) emit.Account {
	return emit.Account{
		Messages: a.Messages + b.Messages, Confirmed: a.Confirmed + b.Confirmed, Repeated: a.Repeated + b.Repeated,
		Known: a.Known + b.Known, Refused: a.Refused + b.Refused, Cleaned: a.Cleaned + b.Cleaned, Held: a.Held + b.Held,
		Cut: a.Cut + b.Cut, Evicted: a.Evicted + b.Evicted, Refitted: a.Refitted + b.Refitted, Lost: a.Lost + b.Lost, Parked: b.Parked,
	}
}

// addPassed adds what counts up, and leaves out what is of the moment.
func addPassed(a, b pipeline.Reading) pipeline.Reading {
	return pipeline.Reading{
		Fetched: a.Fetched + b.Fetched, Transformed: a.Transformed + b.Transformed, Emitted: a.Emitted + b.Emitted, Objects: a.Objects + b.Objects,
	}
}

// addStats adds what counts up and takes what is of the moment from b. That access was refused counts until b has tried.
func addStats(a, b rabbitmq.Stats) rabbitmq.Stats {
	b.Refused = b.Refused || a.Refused && b.Confirmed == 0
	b.Published += a.Published
	b.Confirmed += a.Confirmed
	b.Again += a.Again
	b.Returned += a.Returned
	b.Nacked += a.Nacked
	b.Attempts += a.Attempts
	b.Sessions += a.Sessions
	b.Refreshes += a.Refreshes
	b.Latency = a.Latency.Plus(b.Latency)
	return b
}
