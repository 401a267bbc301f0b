package emit

// MessageSize is an upper bound, in bytes, of the queue message for an object of so many bytes that is imported in the name
// of a user with this id. What has a larger one than [Config.MaxMessageBytes] goes in parts, or is left out as [TooLarge].
func MessageSize(object int, applicantID string) int {
	return newEnvelope(applicantID).messageSize(object)
}

// ObjectSize is the size of the largest object whose queue message certainly has no more than so many bytes.
func ObjectSize(message int, applicantID string) int {
	return newEnvelope(applicantID).room(message)
}
