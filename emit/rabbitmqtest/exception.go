package rabbitmqtest

// Reply codes, with the names that RabbitMQ puts before its texts.
const (
	codeConnectionForced   = 320
	codeAccessRefused      = 403
	codeNotFound           = 404
	codeResourceLocked     = 405
	codePreconditionFailed = 406
	codeFrameError         = 501
	codeSyntaxError        = 502
	codeCommandInvalid     = 503
	codeChannelError       = 504
	codeUnexpectedFrame    = 505
	codeNotAllowed         = 530
	codeNotImplemented     = 540
)

func codeName(code uint16) string {
	switch code {
	case codeConnectionForced:
		return "CONNECTION_FORCED"
	case codeAccessRefused:
		return "ACCESS_REFUSED"
	case codeNotFound:
		return "NOT_FOUND"
	case codeResourceLocked:
		return "RESOURCE_LOCKED"
	case codePreconditionFailed:
		return "PRECONDITION_FAILED"
	case codeFrameError:
		return "FRAME_ERROR"
	case codeSyntaxError:
		return "SYNTAX_ERROR"
	case codeCommandInvalid:
		return "COMMAND_INVALID"
	case codeChannelError:
		return "CHANNEL_ERROR"
	case codeUnexpectedFrame:
		return "UNEXPECTED_FRAME"
	case codeNotAllowed:
		return "NOT_ALLOWED"
	case codeNotImplemented:
		return "NOT_IMPLEMENTED"
	}
	return "INTERNAL_ERROR"
}

// exception is a protocol error that the client is told about: it ends the channel or, when hard, the connection.
type exception struct {
	code   uint16
	reason string
	hard   bool
	method uint32 // that caused it, 0 when none did
}

func (e *exception) text() string { return codeName(e.code) + " - " + e.reason }

func channelException(code uint16, reason string) *exception {
	return &exception{code: code, reason: reason}
}

func connectionException(code uint16, reason string) *exception {
	return &exception{code: code, reason: reason, hard: true}
}

// Error makes an exception travel beside the errors of the socket.
func (e *exception) Error() string { return e.text() }
