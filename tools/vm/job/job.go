// Package job is the protocol between the host and the guest of the test machine.
//
// The host puts a [List] into the guest's initramfs. The guest runs the jobs and writes what each
// prints to a virtio port, between two marker lines.
package job

// ListPath is where the guest finds its list.
const ListPath = "/jobs.json"

// The lines of the guest. They begin with a byte that no test prints first.
const (
	Begin = "\x1bbegin " // number of the job
	End   = "\x1bend "   // number of the job and its exit status
	Over  = "\x1bover"   // all jobs have ended
)

// UID is the ordinary user of the guest.
const UID = 12345

// Job is one program.
type Job struct {
	Name string   `json:"name"` // package, or what the job is
	Test bool     `json:"test"` // a test binary with -test.v=test2json
	User bool     `json:"user"` // run as the ordinary user
	Boot string   `json:"boot"` // on which boot: "" for the first
	Dir  string   `json:"dir"`
	Argv []string `json:"argv"`
	Env  []string `json:"env"`
}

// List is the jobs of one boot, in their order.
type List struct {
	Jobs []Job `json:"jobs"`
}
