package prestart

import "syscall"

const sysFstatat = syscall.SYS_FSTATAT
