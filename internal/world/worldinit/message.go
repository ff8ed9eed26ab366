package worldinit

// The kinds of Message.
const (
	MsgStep    int32 = iota + 1 // a step ended well; Op tells which
	MsgFail                     // the op failed with Errno; the world ends
	MsgExec                     // the command could not be executed: Errno
	MsgExit                     // the command ended: Status and usage
	MsgFDs                      // descriptors come with this message
	MsgFuse                     // the descriptor of a Fuse mount comes with this message: it has to be served
	MsgDegrade                  // the step was left out because of Errno; the world goes on
)

// Message is what the first process tells its supervisor, one a datagram of a
// SOCK_SEQPACKET socket.
type Message struct {
	Kind   int32
	Op     int32
	Errno  int32
	Status int32 // as of wait4(2)
	Utime  int64 // µs
	Stime  int64 // µs
	MaxRSS int64 // KiB
}
