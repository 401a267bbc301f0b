package config

import "strings"

// The settings of bundles as files have the names and defaults that OpenCTI's own client for connectors gives them.

func directorySettings() []setting {
	return []setting{
		{env: "CONNECTOR_SEND_TO_DIRECTORY", path: "connector.send_to_directory", def: "false",
			value: into(boolean(), func(c *Config) *bool { return &c.Directory.On }),
			about: "Write each bundle to a file in a folder, for others to fetch."},
		{env: directoryPath, path: "connector.send_to_directory_path",
			value: into(singleLine(), func(c *Config) *string { return &c.Directory.Path }),
			about: "That folder. It has to exist, and the connector's user has to be allowed to write there."},
		{env: "CONNECTOR_SEND_TO_DIRECTORY_RETENTION", path: "connector.send_to_directory_retention", def: "7",
			value: into(wholeNumber(0, mostDays), func(c *Config) *int { return &c.Directory.Days }),
			about: "Days after which the connector removes its own files from that folder. 0 keeps all."},
		{env: "CONNECTOR_SEND_TO_S3", path: "connector.send_to_s3", def: "false",
			value: into(boolean(), func(c *Config) *bool { return &c.S3.On }),
			about: "Write each bundle to a file in a bucket of S3, for others to fetch."},
		{env: "CONNECTOR_SEND_TO_S3_BUCKET", path: "connector.send_to_s3_bucket",
			value: into(singleLine(), func(c *Config) *string { return &c.S3.Bucket }),
			about: "That bucket, in place of the one that OpenCTI keeps its own files in."},
		{env: "CONNECTOR_SEND_TO_S3_FOLDER", path: "connector.send_to_s3_folder", def: "connectors",
			value: into(bucketFolder(), func(c *Config) *string { return &c.S3.Folder }),
			about: "What the keys of the files begin with. `/` or `.` is the bucket itself."},
		{env: "CONNECTOR_SEND_TO_S3_RETENTION", path: "connector.send_to_s3_retention", def: "7",
			value: into(wholeNumber(0, mostDays), func(c *Config) *int { return &c.S3.Days }),
			about: "Days after which the connector removes its own files from the bucket. 0 keeps all."},
	}
}

func s3Settings() []setting {
	return []setting{
		{env: "S3_ENDPOINT", path: "s3.endpoint",
			value: into(hostAlone("S3_PORT"), func(c *Config) *string { return &c.S3.Endpoint }),
			about: "Host of the server of S3, in place of the one that OpenCTI names."},
		{env: "S3_PORT", path: "s3.port",
			value: into(wholeNumber(1, 65535), func(c *Config) *int { return &c.S3.Port }),
			about: "Its port. Unless it is set, the one that OpenCTI names where the server is OpenCTI's, else that of HTTPS or HTTP."},
		{env: "S3_USE_SSL", path: "s3.use_ssl",
			value: into(optionalBoolean(), func(c *Config) **bool { return &c.S3.UseSSL }),
			about: "Reach it over TLS or not. Unless it is set, as OpenCTI says where the server is OpenCTI's, else over TLS."},
		{env: "S3_BUCKET_REGION", path: "s3.bucket_region",
			value: into(singleLine(), func(c *Config) *string { return &c.S3.Region }),
			about: "Region of the bucket. Unless it is set, the one that OpenCTI names where the server is OpenCTI's, else the server is asked."},
		{env: "S3_ACCESS_KEY", path: "s3.access_key", secret: true,
			value: into(secretLine(), func(c *Config) *Secret { return &c.S3.AccessKey }),
			about: "Access key for it, in place of OpenCTI's."},
		{env: "S3_SECRET_KEY", path: "s3.secret_key", secret: true,
			value: into(secretLine(), func(c *Config) *Secret { return &c.S3.SecretKey }),
			about: "Secret key that belongs to the access key."},
		{env: "S3_USE_AWS_ROLE", path: "s3.use_aws_role", def: "false",
			value: into(boolean(), func(c *Config) *bool { return &c.S3.Role }),
			about: "Use no keys of the settings or of OpenCTI but what AWS gives to where the connector runs: the environment's (`AWS_ACCESS_KEY_ID`), or those of the role of the pod, the container or the machine."},
	}
}

const (
	directoryPath = "CONNECTOR_SEND_TO_DIRECTORY_PATH"
	mostDays      = 36500
)

// bucketFolder reads a folder of a bucket, "" for the bucket itself.
func bucketFolder() kind[string] {
	return kind[string]{
		parse: func(s string) (string, bool) {
			folder := strings.Trim(s, "/")
			if folder == "." {
				folder = ""
			}
			for part := range strings.SplitSeq(folder, "/") {
				if part == ".." || part == "." || part == "" && folder != "" {
					return "", false
				}
			}
			return folder, !strings.ContainsAny(s, "\x00\r\n") && len(folder) <= 500
		},
		says: "names with / between them, like connectors or from/threatmatch, or / for none",
		typ:  schemaType{Type: "string"},
	}
}

// filesProblems finds what is wrong between the settings of bundles as files.
func filesProblems(c Config) []Problem {
	var found []Problem
	if c.Directory.On && c.Directory.Path == "" {
		found = append(found, Problem{Name: directoryPath, Advice: "is required with CONNECTOR_SEND_TO_DIRECTORY=true; set it to an existing folder"})
	}
	const keys = "S3_ACCESS_KEY and S3_SECRET_KEY"
	switch s3 := c.S3; {
	case (s3.AccessKey == "") != (s3.SecretKey == ""):
		found = append(found, Problem{Name: keys, Advice: "set both or neither: they belong together"})
	case s3.Role && s3.AccessKey != "":
		found = append(found, Problem{Name: keys, Advice: "are not used with S3_USE_AWS_ROLE=true; take them away, or the role"})
	}
	return found
}

// filesWarnings name places for bundles as files into which none are written.
func filesWarnings(c Config) []Warning {
	var w []Warning
	if c.Directory.Path != "" && !c.Directory.On {
		w = append(w, directoryPath+" is set, but CONNECTOR_SEND_TO_DIRECTORY is not true: nothing is written there")
	}
	if c.S3.Bucket != "" && !c.S3.On {
		w = append(w, "CONNECTOR_SEND_TO_S3_BUCKET is set, but CONNECTOR_SEND_TO_S3 is not true: nothing is written there")
	}
	return w
}
