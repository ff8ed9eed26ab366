// Package version holds the version of the two programs, substrate and substrate-shim.
//
// It is a package of its own so that whoever compares versions need not import the command line.
package version

// Version is what `substrate --version` prints and what shims were deployed by. A build for a
// release may set another one:
//
//	go build -ldflags "-X substrate/internal/version.Version=0.2.0"
var Version = "0.1.1"
