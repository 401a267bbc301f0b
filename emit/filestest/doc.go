// Package filestest starts private servers of S3 for tests: versitygw, a real one, with a folder for each bucket.
package filestest
