package emit

// MessageSize is an upper bound, in bytes, of the queue message for an object of so many bytes that is imported in the name
// of a user with this id. What has a larger one than [Config.MaxMessageBytes] is left out as [TooLarge].
func MessageSize(object int, applicantID string) int {
	return newEnvelope(applicantID).messageSize(object)
}
