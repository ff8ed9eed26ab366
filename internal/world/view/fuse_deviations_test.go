package view

import (
	"substrate/internal/world/view/viewtest"
)

// fuseDeviations is what fuse-overlayfs is known to get wrong, as of 1.10. docs/known-limits.md tells users of it.
var fuseDeviations = map[string]viewtest.Deviation{
	// It copies special files up by opening them. What it cannot open is left as a regular file.
	"DIF3/chown": {Fails: "changing ownership of 'p': Input/output error", Want: []string{"~ f", "~ d", "~ l", "! p"}},
	"DIF4/touch of a symlink, a fifo and a socket": {Fails: "cannot touch 's': No such device or address", Want: []string{"~ l", "! p"}},
	"DIF3/special files deleted":                   {Fails: "cannot remove 's': No such device or address", Want: []string{"- p", "- l"}},
	"DIF3/special files chmodded":                  {Fails: "changing permissions of 'p': Input/output error", Want: []string{"! p"}},
	"DIF3/devices":                                 {Fails: "changing permissions of 'n': Input/output error", Want: []string{"! n"}},

	// It copies symlinks up without their time.
	"DIF5/chown to the same": {Want: []string{"~ l"}},

	// It keeps the names of a file together while it runs, but only until one of them is deleted or renamed, and it copies up one name, not
	// always the one that was written to. The others are listed if they are beside it, else noted.
	"DIF3/written, then that name deleted":             {Want: []string{"- a"}},
	"DIF3/written, then that name made anew":           {Want: []string{"~ a"}},
	"DIF3/written, then that name renamed":             {Want: []string{"- a", "+ c"}},
	"DIF3/names in two directories":                    {Want: []string{"~ d/b"}}, // and a note
	"DIF3/name in a directory that is not looked into": {Want: []string{"~ d/b"}}, // and a note
	"DIF3/symlink with two names":                      {Want: []string{"~ a"}, Wrong: true},

	// Names that it reserves, and the room that it needs for the name of a whiteout.
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

// fuseUserDeviations are those of an ordinary user besides.
var fuseUserDeviations = map[string]viewtest.Deviation{}

// fuseUnsteady is what random histories leave out: attributes of a command's own that the program takes for marks when it is started anew, and
// hard links, of which it copies up one name.
var fuseUnsteady = []string{"xattr", "link"}

// fuseBreaks is how many of 100 random histories it need not survive: about 1 in 200 makes version 1.10 crash. In about 1 in 1000, it takes two files that
// were copied up from the same one for the same (seed 843 as a user), which the upper does not bear out.
const fuseBreaks = 5
