package view

import (
	"substrate/internal/world/view/viewtest"
)

// fuseDeviations are the known mistakes of fuse-overlayfs 1.10. docs/known-limits.md describes them
// for users.
var fuseDeviations = map[string]viewtest.Deviation{
	// It opens special files to copy them up. If it cannot open one, it leaves a regular file.
	"DIF3/chown": {Fails: "changing ownership of 'p': Input/output error", Want: []string{"~ f", "~ d", "~ l", "! p"}},
	"DIF4/touch of a symlink, a fifo and a socket": {Fails: "cannot touch 's': No such device or address", Want: []string{"~ l", "! p"}},
	"DIF3/special files deleted":                   {Fails: "cannot remove 's': No such device or address", Want: []string{"- p", "- l"}},
	"DIF3/special files chmodded":                  {Fails: "changing permissions of 'p': Input/output error", Want: []string{"! p"}},
	"DIF3/devices":                                 {Fails: "changing permissions of 'n': Input/output error", Want: []string{"! n"}},

	// It does not keep the time of a symlink that it copies up.
	"DIF5/chown to the same": {Want: []string{"~ l"}},

	// It keeps the names of a file together only while it runs, and only until one of them is
	// deleted or renamed. It copies up one name, not always the one that was written to. The diff
	// lists the other names in the same directory; a note counts the rest.
	"DIF3/written, then that name deleted":             {Want: []string{"- a"}},
	"DIF3/written, then that name made anew":           {Want: []string{"~ a"}},
	"DIF3/written, then that name renamed":             {Want: []string{"- a", "+ c"}},
	"DIF3/names in two directories":                    {Want: []string{"~ d/b"}}, // and a note
	"DIF3/name in a directory that is not looked into": {Want: []string{"~ d/b"}}, // and a note
	"DIF3/symlink with two names":                      {Want: []string{"~ a"}, Wrong: true},

	// It reserves some names, and needs room in others for the name of a whiteout.
	"DIF3/whiteout names created":                          {Fails: "Invalid argument"},
	"DIF3/whiteout names deleted":                          {Fails: "No such file or directory"},
	"DIF4/whiteout names of fuse-overlayfs are files here": {Fails: "Invalid argument"},
	"DIF3/longest name created":                            {Fails: "File name too long"},
	"DIF3/longest name deleted":                            {Dies: true},
	"DIF3/longest name modified":                           {Dies: true},

	"DIF3/a file that a whiteout name hides": {Want: []string{"+ f"}},

	// It hides attributes that could be marks.
	"DIF4/xattrs with the names of marks":         {},
	"DIF4/xattr with the name of a whiteout":      {Want: []string{"+ n"}},
	"DIF4/trusted xattrs with the names of marks": {Fails: "operation not permitted"},
}

// fuseUserDeviations are those of an ordinary user in addition.
var fuseUserDeviations = map[string]viewtest.Deviation{}

// fuseUnsteady are the steps that random histories leave out: attributes that the program takes for
// marks when it starts again, and hard links, of which it copies up one name.
var fuseUnsteady = []string{"xattr", "link"}

// fuseBreaks is how many of 100 random histories may fail. Version 1.10 crashes in about 1 of 200.
// In about 1 of 1000 it takes two files that were copied up from the same file for one (seed 843 as
// a user), although the upper has two.
const fuseBreaks = 5
