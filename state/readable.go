package state

// Readable tells whether a run could go on from what OpenCTI holds as the connector's state, the empty text included. The error
// wraps [ErrUnreadable] or [ErrNewer] and says what is wrong.
func Readable(text string) error {
	_, err := parse(text)
	return err
}
