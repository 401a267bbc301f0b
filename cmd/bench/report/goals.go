package report

// The stable names of the rows.
const (
	PublishingClassic = "publishing_classic"
	WholeClassic      = "whole_classic"
	PublishingQuorum  = "publishing_quorum"
	WholeQuorum       = "whole_quorum"
	Python            = "python"
	ItemsLatency      = "items_latency"
	PagesLatency      = "indicators_latency"
	PagesCalls        = "indicators_calls"

	CorpusTime     = "corpus_time"
	NoBroker       = "no_broker"
	Splitting      = "splitting"
	RateClassic    = "rate_classic"
	RateQuorum     = "rate_quorum"
	CPUObject      = "cpu_object"
	CPUIndicator   = "cpu_indicator"
	TransformTime  = "transform_time"
	TransformAlloc = "transform_allocations"
	WholeAlloc     = "whole_allocations"
	QuietTime      = "quiet_time"
	QuietMemory    = "quiet_memory"
	QuietWorks     = "quiet_works"
	MediumMemory   = "medium_memory"
	LimitedMemory  = "limited_memory"
	MillionMemory  = "million_memory"
	MillionRate    = "million_rate"
	MillionFlat    = "million_flat"
	FirstMessage   = "first_message"
	BinarySize     = "binary_size"
	ImageSize      = "image_size"
)

// Rows are all that is measured, with their goals and without figures.
func Rows() []Row {
	ratios := []Row{
		{Name: PublishingClassic, What: "Publishing, against a bare publisher of the same messages: RabbitMQ, classic queue", Unit: "%", Goal: AtLeast(96)},
		{Name: WholeClassic, What: "The whole process, against that of the bare publisher: RabbitMQ, classic queue", Unit: "%", Goal: AtLeast(92)},
		{Name: PublishingQuorum, What: "Publishing, against a bare publisher of the same messages: RabbitMQ, quorum queue", Unit: "%", Goal: AtLeast(96)},
		{Name: WholeQuorum, What: "The whole process, against that of the bare publisher: RabbitMQ, quorum queue", Unit: "%", Goal: AtLeast(92)},
		{Name: Python, What: "The open corpus, times as fast as the Python connector", Unit: "×", Goal: AtLeast(18)},
		{Name: ItemsLatency, What: "Profiles from an API that takes 50 ms a call and has no rate limit: time, against calls × latency ÷ concurrency", Unit: "×", Goal: AtMost(1.1)},
		{Name: PagesLatency, What: "Indicators from an API that takes 50 ms a call and has no rate limit: times as fast with a concurrency of 8 as with one cursor", Unit: "×", Goal: AtLeast(6)},
		{Name: PagesCalls, What: "Calls for these indicators, against one cursor", Unit: "%", Goal: AtMost(110)},
	}
	for i := range ratios {
		ratios[i].Ratio = true
	}
	return append(ratios, []Row{
		{Name: CorpusTime, What: "The open corpus, from the start of the process until all is in the queue", Unit: "ms"},
		{Name: NoBroker, What: "The whole run with a broker that confirms at once", Unit: "objects/s", Goal: AtLeast(60_000)},
		{Name: Splitting, What: "Splitting a medium import's JSON into objects, and nothing else, in a second of CPU", Unit: "objects/s"},
		{Name: RateClassic, What: "Publishing to RabbitMQ, classic queue", Unit: "objects/s"},
		{Name: RateQuorum, What: "Publishing to RabbitMQ, quorum queue", Unit: "objects/s"},
		{Name: CPUObject, What: "CPU for an object of a profile, 4 kB each", Unit: "µs", Goal: AtMost(18)},
		{Name: CPUIndicator, What: "CPU for an indicator", Unit: "µs", Goal: AtMost(12)},
		{Name: TransformTime, What: "CPU for transforming, for each object that is delivered", Unit: "µs", Goal: AtMost(6)},
		{Name: TransformAlloc, What: "Allocations in the transformer, for each object that is delivered", Unit: "", Goal: AtMost(3)},
		{Name: WholeAlloc, What: "Allocations for an object, the whole way", Unit: "", Goal: AtMost(25)},
		{Name: QuietTime, What: "A scheduled run with nothing new", Unit: "ms", Goal: Below(1000)},
		{Name: QuietMemory, What: "Largest memory of a scheduled run with nothing new, without the pages of the program's file", Unit: "MiB", Goal: Below(25)},
		{Name: QuietWorks, What: "Works that a scheduled run with nothing new opens", Unit: "", Goal: Below(1)},
		{Name: MediumMemory, What: "Largest memory of the medium run", Unit: "MiB", Goal: AtMost(80)},
		{Name: LimitedMemory, What: "Largest memory of the medium run with GOMEMLIMIT=40MiB, against these 40 MiB", Unit: "%", Goal: AtMost(110)},
		{Name: MillionMemory, What: "Largest memory of a million objects", Unit: "MiB", Goal: AtMost(150)},
		{Name: MillionRate, What: "A million objects, with a broker that confirms at once", Unit: "objects/s"},
		{Name: MillionFlat, What: "Speed of the last tenth of a million objects, against the second", Unit: "%"},
		{Name: FirstMessage, What: "From the start of the process to the first message", Unit: "ms", Goal: Below(300)},
		{Name: BinarySize, What: "The program's file", Unit: "MB", Goal: Below(20)},
		{Name: ImageSize, What: "The image: the program and what deploy/Dockerfile adds", Unit: "MB", Goal: Below(25)},
	}...)
}
