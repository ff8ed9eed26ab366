// The program begins here. See the package comment.

#include "textflag.h"

#define SYS_fcntl 25
#define SYS_rt_sigaction 134
#define SYS_rt_sigprocmask 135
#define SYS_prlimit64 261
#define SIG_IGN 1
#define RLIMIT_NOFILE 7
#define F_GETFD 1

// inherited_entry runs without a stack of its own, without thread-local storage and
// without a runtime: it may use registers, system calls and the variables of this
// package, nothing else. A system call takes its number in R8 and its arguments in R0 to
// R3, and changes R0 alone.
//
// Source: Linux arch/arm64 system call convention, syscall(2), "Architecture calling
// conventions".
TEXT inherited_entry(SB), NOSPLIT|NOFRAME, $0
	MOVD	R0, R19			// the ABI gives R0 a meaning at entry; hand it on

	MOVD	$0, R21			// R21: set of ignored signals
	MOVD	$1, R20			// R20: the signal that is asked about
signals:
	MOVD	R20, R0			// of this signal
	MOVD	$0, R1			// set nothing
	MOVD	$·action(SB), R2	// tell what is set
	MOVD	$8, R3			// size of a signal set
	MOVD	$SYS_rt_sigaction, R8
	SVC
	CBNZ	R0, next		// no such signal
	MOVD	·action(SB), R4		// the first word is the handler
	CMP	$SIG_IGN, R4
	BNE	next
	SUB	$1, R20, R5
	MOVD	$1, R6
	LSL	R5, R6, R6
	ORR	R6, R21, R21		// set bit R20-1
next:
	ADD	$1, R20, R20
	CMP	$64, R20
	BLE	signals
	MOVD	R21, ·ignored(SB)

	MOVD	$0, R0
	MOVD	$0, R1			// set nothing
	MOVD	$·blocked(SB), R2	// tell what is set
	MOVD	$8, R3			// size of a signal set
	MOVD	$SYS_rt_sigprocmask, R8
	SVC

	MOVD	$0, R0			// of this process
	MOVD	$RLIMIT_NOFILE, R1
	MOVD	$0, R2			// set nothing
	MOVD	$·noFile(SB), R3	// tell what is set
	MOVD	$SYS_prlimit64, R8
	SVC

	MOVD	$0, R21			// R21: set of closed descriptors
	MOVD	$0, R20			// R20: the descriptor that is asked about
files:
	MOVD	R20, R0
	MOVD	$F_GETFD, R1
	MOVD	$SYS_fcntl, R8
	SVC
	TBZ	$63, R0, open		// not negative: it is open
	MOVD	$1, R6
	LSL	R20, R6, R6
	ORR	R6, R21, R21
open:
	ADD	$1, R20, R20
	CMP	$2, R20
	BLE	files
	MOVD	R21, ·closed(SB)

	MOVD	$1, R6
	MOVD	R6, ·known(SB)
	MOVD	R19, R0
	B	_rt0_arm64_linux(SB)	// the stack pointer was never touched
