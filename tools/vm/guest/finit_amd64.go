package main

// sysFinitModule is the number of finit_module(2), which package syscall does not know.
const sysFinitModule = 313
