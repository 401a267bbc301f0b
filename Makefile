# Everything that a developer types. `make help` lists it.

BINARY      := bin/connector-threatmatch
PACKAGE     := ./cmd/connector-threatmatch
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT      ?= $(shell git rev-parse HEAD 2>/dev/null)
# The same source, version and Go give the same bytes, wherever it is built: no path, and no time of a checkout.
# The time zones are inside, for the image has no files of them.
BUILDFLAGS  := -trimpath -buildvcs=false -tags timetzdata -ldflags '-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)'
RELEASED    := $(addprefix dist/connector-threatmatch-linux-,amd64 arm64)
# docker, podman or buildah; IMAGEFLAGS are for its `build`, say --platform linux/arm64.
ENGINE      ?= docker
IMAGE       ?= connector-threatmatch-go:latest
IMAGEFLAGS  ?=
GO_IMAGE    ?= golang:1.26
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BENCHSTAT   := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
# What takes minutes with the race detector and has no goroutines that other tests do not have as well. It runs without, as does the
# mapping, which has none of its own.
RACELESS    := ^Test(TwoInstancesNotice|OneOfTwoInstancesNotices|ASingleInstanceNeverTakesItself|TheStateStaysSmall$\
|APartIsReadByDefault|MemoryDoesNotGrow|MemoryStaysBounded|AnIdleConnector$\
|AThreatMatchThatGoesAway|AnOutageInTheMiddle|ShortTroubles|ADeletedWorkMakes|AResetMakes|ToldToStopARunEnds|ADatasetThatIsRefused|ARunThatFailedIsRepeated$\
|TheSmallestMeasurement|SlicesAreFaster)
# Seconds for each fuzz target, and how long `make soak` goes on.
FUZZTIME    ?= 5s
SOAK        ?= 1h

.PHONY: help build demo test bench bench-quick bench-compare profile lint fuzz image release mutants soak clean FORCE

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/connector-threatmatch
	CGO_ENABLED=0 go build $(BUILDFLAGS) -o $(BINARY) $(PACKAGE)

demo: build ## see ThreatMatch intelligence arrive in a queue; nothing to install
	$(BINARY) sandbox $(DEMO)

test: ## all tests with the race detector; installs RabbitMQ, Prometheus and a C compiler if they are missing and it may
	.ci/test-tools
	go test -race -parallel 4 -timeout 40m -skip '$(RACELESS)' $$(go list ./... | grep -v /transform)
	go test ./transform/...
	go test -parallel 8 -run '$(RACELESS)|^TestInAnySchedule' $$(go list ./... | grep -v /transform)

bench: build bin/bench ## measure it against bare ceilings and goals, in some ten minutes at most: bench/report.md; fails where a ratio misses its goal
	bin/bench

bench-quick: build bin/bench ## the same with small inputs, in a minute or two, for work in progress: no goal decides
	bin/bench -size quick

bench-compare: ## the last measurement against one whose folder was saved: make bench-compare OLD=FOLDER
	@test -f "$(OLD)/benchstat.txt" || { echo "copy the folder bench of an earlier measurement, and give the copy: make bench-compare OLD=FOLDER"; exit 1; }
	@test -f bench/benchstat.txt || { echo "there is no measurement to compare it with: make bench"; exit 1; }
	go run $(BENCHSTAT) $(OLD)/benchstat.txt bench/benchstat.txt

profile: bin/bench ## CPU, allocation, block and mutex profiles of a whole run in bench/profiles, and the top of each
	bin/bench profile

bin/bench: FORCE
	go build -o $@ ./cmd/bench

lint: ## gofmt, go mod tidy, go vet, staticcheck, and govulncheck where its database can be reached
	@unformatted="$$(gofmt -l .)"; if [ -n "$$unformatted" ]; then echo "gofmt needed: $$unformatted"; exit 1; fi
	go mod tidy -diff
	go vet ./...
	go run $(STATICCHECK) ./...
	@.ci/vulnerabilities $(GOVULNCHECK)

fuzz: ## each fuzz target for FUZZTIME
	.ci/fuzz $(FUZZTIME)

# Podman and Buildah keep a health check only in Docker's format, and the older of them do not know what they build on.
image: ## build the container image with ENGINE: docker, podman or buildah
ifeq ($(notdir $(ENGINE)),docker)
	DOCKER_BUILDKIT=1 $(ENGINE) build $(IMAGEARGS)
else
	$(ENGINE) build --format docker --build-arg BUILDPLATFORM=linux/$(MACHINE) $(IMAGEARGS)
endif
image: IMAGEARGS = $(IMAGEFLAGS) -f deploy/Dockerfile -t $(IMAGE) --build-arg GO_IMAGE=$(GO_IMAGE) \
	--build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) .
image: MACHINE = $(subst aarch64,arm64,$(subst x86_64,amd64,$(shell uname -m)))

release: $(RELEASED) ## static binaries for Linux with their bills of materials, licences and SHA256SUMS in dist
	cd dist && sha256sum $(notdir $(RELEASED) $(RELEASED:=.cdx.json) $(RELEASED:=.licenses.txt)) > SHA256SUMS

dist/connector-threatmatch-linux-%: FORCE
	CGO_ENABLED=0 GOOS=linux GOARCH=$* go build $(BUILDFLAGS) -o $@ $(PACKAGE)
	go run ./deploy/sbom $(VERSION) $@ > $@.cdx.json
	go run ./deploy/licenses $@ > $@.licenses.txt

mutants: ## plant each defect in turn and see the tests fail
	.ci/test-tools
	.ci/mutants

soak: ## everything that can go wrong at once, for SOAK: look for anything lost, and plot memory, files and disk in bin
	.ci/test-tools
	mkdir -p bin
	SOAK=$(SOAK) SOAK_PLOTS=$(CURDIR)/bin go test -count 1 -timeout 0 -v -run '^TestSoak' $(PACKAGE)/endtoend

clean: ## remove what was built
	rm -rf bin dist bench
