package boot

// The kinds of Message.
const (
	MsgStep    int32 = iota + 1 // a step ended well; Step is its number
	MsgFail                     // the step failed with Errno; the world ends
	MsgExec                     // the command could not be executed: Errno
	MsgExit                     // the command ended: Status and usage
	MsgNet                      // the network is ready; its descriptors come with this message
	MsgBegin                    // the command is about to start; the descriptors of its view come with this message, and the usage so far
	MsgFuse                     // the descriptor of a Fuse mount comes with this message: it has to be served
	MsgDegrade                  // the step was left out because of Errno; the world goes on
)

// Message is a report of the processes of a world to the supervisor, one a datagram of a
// SOCK_SEQPACKET socket.
type Message struct {
	Kind   int32
	Step   int32 // index into the names of the steps
	Errno  int32
	Status int32 // as of wait4(2)
	Utime  int64 // µs
	Stime  int64 // µs
	MaxRSS int64 // KiB
}
