package openctitest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Config sets up a platform. The zero value works, for any token that is empty.
type Config struct {
	// Token is what a connector must present.
	Token string
	// UserID is the connector's user, the applicant of its messages; by default an arbitrary one.
	UserID string
	// Broker is where the platform declares exchanges and queues; nil stands for none.
	Broker Broker
	// QueueType is that of the queues which the platform declares, "quorum" for one; by default it leaves that to the broker.
	QueueType string
	// Version is the release, "5.5.4" for one. Its schema is that of the newest file in the folder releases that is no newer, and
	// it behaves like it: before 6.8 a change of a work that was deleted fails; before 6.2 (6.1.12 in truth) a reset leaves what is in the queue;
	// before 6.1 a request may hold the same call as often as one likes. By default it is "7.260817.0", with what was added since.
	Version string
	// Storage is the storage of S3 that the platform tells connectors of, since 7. Without an AccessKey, which it has where it takes
	// a role of AWS, it cannot tell.
	Storage Storage
	// NoStateTimestamp leaves out connector_state_timestamp.
	NoStateTimestamp bool
	// Without leaves out further members, each written as Type.member or Type.field.argument.
	Without []string
	// Capabilities are what the connector's user may do; nil stands for those of OpenCTI's own role "Connector". "BYPASS" is all.
	Capabilities []string
	// NoConfidence takes from the user the level of confidence without which a platform since 6.0 takes no knowledge from it.
	NoConfidence bool
	// NoKnowledge takes from the user the right to read knowledge.
	NoKnowledge bool
	// TellsDeadWorks has changes of a work that is not alive refused with WORK_NOT_ALIVE, as some releases do, in place of
	// answering them as ever.
	TellsDeadWorks bool
	// Relations are the types of relationships between types of entities, under keys such as "Intrusion-Set_Country"; nil
	// stands for a platform that takes all and tells none. "related-to" is taken between any two.
	Relations map[string][]string

	later bool // the release has what was added after the newest one of which there is a schema
}

// Storage is a platform's storage.
type Storage struct {
	Endpoint             string
	Port                 int
	UseSSL               bool
	Bucket, Region       string
	AccessKey, SecretKey string
}

// newest is the release that a platform is unless it is told otherwise.
const newest = "7.260817.0"

// checkVersion wants a version whose first two numbers can be told.
func checkVersion(version string) error {
	parts := strings.SplitN(version, ".", 3)
	for _, part := range parts[:min(2, len(parts))] {
		if _, err := strconv.Atoi(part); err != nil {
			return fmt.Errorf("read version %q: %w", version, err)
		}
	}
	return nil
}

// since reports whether the platform is of a release or a later one.
func (c Config) since(major, minor int) bool {
	parts := append(strings.Split(c.Version, "."), "0")
	first, _ := strconv.Atoi(parts[0])
	second, _ := strconv.Atoi(parts[1])
	return first > major || first == major && second >= minor
}

// protectsBatches reports whether one request may hold only so many calls of the same field.
func (c Config) protectsBatches() bool { return c.since(6, 1) }

// purgesQueues reports whether a reset empties the connector's queues.
func (c Config) purgesQueues() bool { return c.since(6, 2) }

// namesErrorsInCapitals reports whether errors are named as in FORBIDDEN_ACCESS, and not as in ForbiddenAccess.
func (c Config) namesErrorsInCapitals() bool { return c.since(5, 12) }

// answersForDeadWorks reports whether changes of a work that is not alive are answered as if it were.
func (c Config) answersForDeadWorks() bool { return c.since(6, 8) }

// without lists the members that the schema lacks besides those that the release has not, in order.
func (c Config) without() []string {
	members := slices.Clone(c.Without)
	if c.NoStateTimestamp {
		members = append(members, "Connector.connector_state_timestamp")
	}
	slices.Sort(members)
	return slices.Compact(members)
}
