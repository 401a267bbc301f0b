// Package opencti speaks the GraphQL that an external-import connector needs: registration, pings, works and what became of
// them, the size of the queue, and the questions which objects the platform holds and which relationships it takes.
//
// The operations stand in operations.graphql and are checked against schema.graphql when their code is generated. Only
// what an older platform is asked about many ids at once is built at run time, because its aliases depend on how many are
// asked for.
//
// # Errors
//
// Every failed call returns an error that wraps an [*Error]. Queries are repeated a few times before they fail. Mutations
// never are: their caller knows which of them may be repeated, and [IsUnsent] tells when that is harmless. No error holds
// the token or the value of a custom header. What is not answered is unknown, never absent: [IsRefused] tells when asking
// again is no use.
//
// # Older and newer platforms
//
// [Client.Register] asks a platform once what it knows, in a document that has all that it may lack, and what is asked from then on
// is asked without that. What it turns out later to lack is left out likewise. What is lost by it is said once, as a warning. An
// error tells where the connector cannot do without. Schemas are not asked for: OpenCTI forbids that by default.
package opencti

//go:generate go run github.com/Khan/genqlient genqlient.yaml
