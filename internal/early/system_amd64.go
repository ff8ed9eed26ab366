package early

import "syscall"

const sysFstatat = syscall.SYS_NEWFSTATAT
