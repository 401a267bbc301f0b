package files

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/opencti-connectors/threatmatch/pipeline/remote"
)

// BucketSetting is the setting that names the bucket, for the advice to an operator.
const BucketSetting = "CONNECTOR_SEND_TO_S3_BUCKET"

// settings are those that say how the server is reached.
var settings = remote.Settings{
	Address: "S3_ENDPOINT and S3_PORT", Authority: "HTTPS_CA_CERTIFICATES",
	Plain: "set S3_USE_SSL=false, or S3_PORT to the port that speaks TLS", Encrypted: "set S3_USE_SSL=true",
}

// Settings are the settings that say how the server of a bucket is reached.
func Settings() remote.Settings { return settings }

// passing are failures that end by themselves, or when somebody has made room, whatever HTTP status they come with.
var passing = []string{
	"RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled", "SlowDown", "SlowDownRead", "SlowDownWrite",
	"OperationAborted", "ConditionalRequestConflict", "ExpiredToken", "ExpiredTokenException", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded",
	"XMinioStorageFull", "InsufficientStorage",
}

// judge says of a failure what to do about it.
func (b *Bucket) judge(ctx context.Context, doing string, err error) error {
	var (
		known *LastingError
		said  minio.ErrorResponse
	)
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case errors.As(err, &known):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &said) && said.StatusCode != 0:
		err = b.answered(said)
	default:
		err = unreached(err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// unreached judges what kept an answer from coming.
func unreached(err error) error {
	switch known := remote.Diagnose(err, settings); {
	case known.Lasting:
		return &LastingError{Problem: known.Problem, Remedy: known.Remedy, cause: err}
	case known.Problem != "":
		return fmt.Errorf("%w; %s", err, known)
	}
	return err
}

// answered judges what the server said.
func (b *Bucket) answered(said minio.ErrorResponse) error {
	lasting := func(problem, remedy string) *LastingError {
		return &LastingError{Problem: fmt.Sprintf("%s (%s)", problem, b.quote(said)), Remedy: remedy, cause: said}
	}
	switch said.Code {
	case minio.NoSuchBucket:
		return lasting("the server has no bucket "+b.name, "make it, or correct "+BucketSetting)
	case minio.AccessDenied, "AllAccessDisabled", "AccountProblem":
		denied := lasting("the server does not let the connector do this", "give the user of the keys, or the role, the rights s3:PutObject and s3:GetObject on "+
			b.key("*")+", and for the retention s3:ListBucket and s3:DeleteObject")
		denied.Denied = true
		return denied
	case "InvalidAccessKeyId", "XAdminUserNotFound", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId", "UnrecognizedClientException":
		return lasting("the server does not take the keys", "check S3_ACCESS_KEY and S3_SECRET_KEY or, where they are not set, whether the keys of OpenCTI's own storage, "+
			"or the role, are for this server")
	case "RequestTimeTooSkewed":
		return lasting("the server's clock shows another time than this machine's", "set the clock that is wrong")
	case "EntityTooLarge":
		return lasting("the server takes no file that large", "raise its limit")
	case "BadDigest", "IncompleteBody":
		return fmt.Errorf("what arrived was not what was sent: %s", b.quote(said))
	}
	if inAnotherRegion(said) {
		remedy := "set S3_BUCKET_REGION to the bucket's"
		if said.Region != "" {
			remedy = "set S3_BUCKET_REGION=" + said.Region
		}
		return lasting("the bucket is in another region", remedy)
	}
	return b.answeredOddly(said, lasting)
}

// inAnotherRegion reports whether the server says that it was asked in the name of a region that is not the bucket's.
func inAnotherRegion(err error) bool {
	return slices.Contains([]string{minio.AuthorizationHeaderMalformed, minio.InvalidRegion, "PermanentRedirect", "IllegalLocationConstraintException", "IncorrectEndpoint"}, code(err))
}

// answeredOddly judges by the HTTP status.
func (b *Bucket) answeredOddly(said minio.ErrorResponse, lasting func(problem, remedy string) *LastingError) error {
	switch status := said.StatusCode; {
	case slices.Contains(passing, said.Code), status >= http.StatusInternalServerError && status != http.StatusNotImplemented,
		status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status == 499:
		return fmt.Errorf("the server answers: %s", b.quote(said))
	case remote.AsksForTLS(status, said.Message):
		return lasting("that port speaks TLS", settings.Encrypted)
	case status < http.StatusBadRequest:
		return lasting("the server sends elsewhere", "correct "+settings.Address+", or S3_BUCKET_REGION")
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
		return lasting("this is no server of S3", "correct "+settings.Address)
	}
	return lasting("the server refuses it", "see what it means in the server's documentation")
}

// quote is what the server said, in one line: it may repeat what it was sent.
func (b *Bucket) quote(said minio.ErrorResponse) string {
	const most = 200
	text := b.secrets.Redact(strings.Join(strings.Fields(said.Message), " "))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return fmt.Sprintf("%s: %s, HTTP %d", said.Code, text, said.StatusCode)
}
