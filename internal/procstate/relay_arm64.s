#include "textflag.h"

#define SYS_kill 129
#define SYS_getpid 172

#define siginfo_code 8	// offset of si_code: positive if the kernel sent the signal, else a process
#define siginfo_pid 16	// offset of si_pid: that of our own if our writing caused it

// relay is the handler that the kernel calls with the signal in R0 and its siginfo in R1,
// on the thread's signal stack. It may use the registers that a C function may use, and
// calls nothing of Go.
//
// Source: sigaction(2), "The siginfo_t argument to a SA_SIGINFO handler".
TEXT ·relay(SB), NOSPLIT|NOFRAME, $0
	MOVW	R0, R2			// R2: the signal
	SUB	$1, R2, R3
	MOVD	$1, R4
	LSL	R3, R4, R4		// R4: the set of this signal alone
	MOVD	·dropped(SB), R5
	TST	R4, R5
	BEQ	meant
	MOVD	$SYS_getpid, R8
	SVC
	MOVW	siginfo_pid(R1), R5
	CMPW	R0, R5
	BEQ	done			// our own writing caused it
meant:
	MOVD	$·target(SB), R6
	LDAR	(R6), R7		// R7: process that gets it
	CBNZ	R7, started
	MOVD	$·early(SB), R9
again:
	LDAXR	(R9), R10		// nobody is there yet: note it
	ORR	R4, R10, R10
	STLXR	R10, (R9), R11
	CBNZ	R11, again
	LDAR	(R6), R7		// somebody may have come in between
	CBZ	R7, done
started:
	MOVW	siginfo_code(R1), R5
	CMPW	$0, R5
	BLE	send			// sent by a process, to us alone as far as we know
	MOVD	·terminal(SB), R5
	TST	R4, R5
	BNE	done			// sent by the terminal, to the command too
send:
	MOVD	R7, R0
	MOVD	R2, R1
	MOVD	$SYS_kill, R8
	SVC
done:
	RET				// to the kernel's own trampoline

// func handlerAddresses() (handler, restorer uintptr)
TEXT ·handlerAddresses(SB), NOSPLIT, $0-16
	MOVD	$·relay(SB), R0
	MOVD	R0, handler+0(FP)
	MOVD	ZR, restorer+8(FP)
	RET
