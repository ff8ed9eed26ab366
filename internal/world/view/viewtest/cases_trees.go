package viewtest

// dirCases are about directories.
func dirCases() []Case {
	const tree = "mkdir -p d/e/g; echo 1 >d/f; echo 2 >d/e/f; echo 3 >d/e/g/f; ln -s f d/l; mkfifo d/p; "
	return []Case{
		{Name: "DIF3/mkdir", Do: "mkdir d", Want: []string{"+ d"}},
		{Name: "DIF3/rmdir", Before: "mkdir d", Do: "rmdir d", Want: []string{"- d"}},
		{Name: "DIF3/rm -r", Before: tree, Do: "rm -r d", Want: []string{"- d", "- d/e", "- d/e/f", "- d/e/g", "- d/e/g/f", "- d/f", "- d/l", "- d/p"}},
		{Name: "DIF3/rm -r of a part", Before: tree, Do: "rm -r d/e", Want: []string{"- d/e", "- d/e/f", "- d/e/g", "- d/e/g/f"}},
		{Name: "DIF3/change, then rm -r", Before: tree, Do: "echo x >>d/e/g/f; echo n >d/e/n; chmod 700 d/e; rm -r d/e", Want: []string{"- d/e", "- d/e/f", "- d/e/g", "- d/e/g/f"}},
		{Name: "DIF4/rmdir and mkdir", Before: "mkdir d", Do: "rmdir d; mkdir d"},
		{Name: "DIF4/rmdir and mkdir with another mode", Before: "mkdir d", Do: "rmdir d; mkdir -m 700 d", Want: []string{"~ d"}},
		{Name: "DIF4/rm -r and mkdir", Before: tree, Do: "rm -r d; mkdir d", Want: []string{"- d/e", "- d/e/f", "- d/e/g", "- d/e/g/f", "- d/f", "- d/l", "- d/p"}},
		{Name: "DIF4/rm -r and made anew with some of it", Before: tree, Do: `rm -r d; mkdir -p d/e/n; echo 1 >d/f; touch -d "$OLD" d/f; echo 9 >d/e/f; echo n >d/e/n/n`, Want: []string{"~ d/e/f", "- d/e/g", "- d/e/g/f", "+ d/e/n", "+ d/e/n/n", "- d/l", "- d/p"}},
		{Name: "DIF4/rm -r and made anew with other types", Before: tree, Do: "rm -r d; mkdir -p d/f d/e; echo x >d/e/g; ln -s x d/p", Want: []string{"! d/f", "- d/e/f", "! d/e/g", "- d/e/g/f", "- d/l", "! d/p"}},
		{Name: "DIF4/made anew twice", Before: tree, Do: "rm -r d/e; mkdir d/e; echo a >d/e/a; rm -r d/e; mkdir d/e; echo b >d/e/b", Want: []string{"- d/e/f", "- d/e/g", "- d/e/g/f", "+ d/e/b"}},
		{Name: "DIF4/a directory whose content changed is none", Before: tree, Do: "echo n >d/e/n; rm d/e/n d/f", Want: []string{"- d/f"}},
		{Name: "DIF4/xattr lost by making anew", Before: "mkdir d", First: setXattrs("user.x", "1", "d"), Do: "rmdir d; mkdir d", Want: []string{"~ d"}},
		{Name: "DIF3/everything deleted", Before: tree + "echo x >top", Do: "rm -r d top", Want: []string{"- d", "- d/e", "- d/e/f", "- d/e/g", "- d/e/g/f", "- d/f", "- d/l", "- d/p", "- top"}},
		{Name: "DIF3/deep", Before: "p=.; for i in {1..60}; do p=$p/d; done; mkdir -p $p; echo a >$p/f", Do: "p=.; for i in {1..60}; do p=$p/d; done; echo b >>$p/f; echo c >$p/g; sed -i s/b/c/ $p/f", Want: []string{"~ " + deep(60) + "f", "+ " + deep(60) + "g"}},
	}
}

func deep(n int) (path string) {
	for range n {
		path += "d/"
	}
	return path
}

// swapCases are about paths whose type changes.
func swapCases() []Case {
	const tree = "mkdir -p d/e; echo 1 >d/f; echo 2 >d/e/f; echo 3 >f; ln -s d l; mkfifo p; "
	return []Case{
		{Name: "DIF3/file by directory", Before: tree, Do: "rm f; mkdir -p f/a; echo x >f/a/b", Want: []string{"! f", "+ f/a", "+ f/a/b"}},
		{Name: "DIF3/directory by file", Before: tree, Do: "rm -r d; echo x >d", Want: []string{"! d", "- d/e", "- d/e/f", "- d/f"}},
		{Name: "DIF3/directory by symlink to its copy", Before: tree, Do: "cp -a d n; rm -r d; ln -s n d", Want: []string{"! d", "- d/e", "- d/e/f", "- d/f", "+ n", "+ n/e", "+ n/e/f", "+ n/f"}},
		{Name: "DIF3/file by symlink", Before: tree, Do: "ln -sfn p f", Want: []string{"! f"}},
		{Name: "DIF3/symlink by file", Before: tree, Do: "rm l; echo x >l", Want: []string{"! l"}},
		{Name: "DIF3/symlink by directory", Before: tree, Do: "rm l; mkdir l; echo x >l/f", Want: []string{"! l", "+ l/f"}},
		{Name: "DIF3/fifo by socket, file by fifo", Before: tree, Do: "rm p f; mkfifo f", Also: socket("p"), Want: []string{"! p", "! f"}},
		{Name: "DIF3/directory by fifo", Before: tree, Do: "rm -r d; mkfifo d", Want: []string{"! d", "- d/e", "- d/e/f", "- d/f"}},
		{Name: "DIF4/to another type and back", Before: tree, Do: `rm f; mkdir f; rmdir f; echo 3 >f; touch -d "$OLD" f`},
		{Name: "DIF4/directory to file and back", Before: tree, Do: "rm -r d; echo x >d; rm d; mkdir d; echo n >d/n", Want: []string{"- d/e", "- d/e/f", "- d/f", "+ d/n"}},
		{Name: "DIF3/exchanged by name", Before: tree, Do: "mv d t; mv f d; mv t f", Want: []string{"! d", "- d/e", "- d/e/f", "- d/f", "! f", "+ f/e", "+ f/e/f", "+ f/f"}},
	}
}

// renameCases are about renamed files and directories. With redirect_dir the kernel moves a
// directory without a copy; otherwise mv copies it.
func renameCases() []Case {
	const tree = "mkdir -p a/s/t x; echo 1 >a/f; echo 2 >a/s/f; echo 3 >a/s/t/f; echo 4 >x/f; "
	gone := []string{"- a", "- a/f", "- a/s", "- a/s/f", "- a/s/t", "- a/s/t/f"}
	under := func(p string, more ...string) []string {
		return append([]string{"+ " + p, "+ " + p + "/f", "+ " + p + "/s", "+ " + p + "/s/f", "+ " + p + "/s/t", "+ " + p + "/s/t/f"}, more...)
	}
	return []Case{
		{Name: "DIF3/rename file", Before: "echo a >f", Do: "mv f g", Want: []string{"- f", "+ g"}},
		{Name: "DIF3/rename file over another", Before: "echo a >f; echo b >g", Do: "mv f g", Want: []string{"- f", "~ g"}},
		{Name: "DIF3/rename file and back", Before: "echo a >f", Do: "mv f g; mv g f"},
		{Name: "DIF3/rename file into a directory", Before: "echo a >f; mkdir d", Do: "mv f d", Want: []string{"- f", "+ d/f"}},
		{Name: "DIF3/rename symlink, fifo", Before: "ln -s x l; mkfifo p", Do: "mv l m; mv p q", Want: []string{"- l", "- p", "+ m", "+ q"}},
		{Name: "DIF3/rename directory", Before: tree, Do: "mv a b", Want: under("b", gone...)},
		{Name: "DIF3/rename empty directory", Before: "mkdir a", Do: "mv a b", Want: []string{"- a", "+ b"}},
		{Name: "DIF3/rename directory and back", Before: tree, Do: "mv a b; mv b a"},
		{Name: "DIF3/rename directory into another", Before: tree, Do: "mv a x/", Want: under("x/a", gone...)},
		{Name: "DIF3/rename into a new directory", Before: tree, Do: "mkdir -p n/m; mv a n/m/b", Want: under("n/m/b", append(gone, "+ n", "+ n/m")...)},
		{Name: "DIF3/rename, then change inside", Before: tree, Do: "mv a b; echo x >>b/s/f; rm b/f; echo n >b/s/t/n", Want: append([]string{"+ b", "+ b/s", "+ b/s/f", "+ b/s/t", "+ b/s/t/f", "+ b/s/t/n"}, gone...)},
		{Name: "DIF3/change inside, then rename", Before: tree, Do: "echo x >>a/s/f; rm a/f; echo n >a/s/t/n; mv a b", Want: append([]string{"+ b", "+ b/s", "+ b/s/f", "+ b/s/t", "+ b/s/t/f", "+ b/s/t/n"}, gone...)},
		{Name: "DIF3/rename twice", Before: tree, Do: "mv a b; mv b c", Want: under("c", gone...)},
		{Name: "DIF3/rename nested", Before: tree, Do: "mv a b; mv b/s b/r; mv b/r/t x/u", Want: append([]string{"+ b", "+ b/f", "+ b/r", "+ b/r/f", "+ x/u", "+ x/u/f"}, gone...)},
		{Name: "DIF3/rename from inside out", Before: tree, Do: "mv a/s/t b; mv a/s b/s", Want: []string{"- a/s", "- a/s/f", "- a/s/t", "- a/s/t/f", "+ b", "+ b/f", "+ b/s", "+ b/s/f"}},
		{Name: "DIF3/rename inside itself by a detour", Before: tree, Do: "mv a/s b; mv b a/f2; mv a/f2 a/s"},
		{Name: "DIF3/rename and old name made anew", Before: tree, Do: "mv a b; mkdir a; echo 9 >a/f", Want: under("b", "~ a/f", "- a/s", "- a/s/f", "- a/s/t", "- a/s/t/f")},
		{Name: "DIF3/rename over a directory that was emptied", Before: tree, Do: "rm x/f; mv -T a x", Want: append([]string{"+ x/s", "+ x/s/f", "+ x/s/t", "+ x/s/t/f", "~ x/f"}, gone...)},
		{Name: "DIF3/two directories exchanged", Before: "mkdir a b; echo 1 >a/f; echo 2 >b/f; echo 3 >a/g; echo 4 >b/h; echo s >a/s; echo s >b/s", Do: "mv a t; mv b a; mv t b", Want: []string{"~ a/f", "~ b/f", "- a/g", "+ b/g", "- b/h", "+ a/h"}},
		{Name: "DIF3/two directories exchanged, with directories inside", Before: "mkdir -p a/s/t b/s/t; echo 1 >a/s/t/f; echo 2 >b/s/t/f; echo 3 >a/s/g; echo s >a/s/s; echo s >b/s/s", Do: "mv a t; mv b a; mv t b", Want: []string{"- a/s/g", "~ a/s/t/f", "+ b/s/g", "~ b/s/t/f"}},
		{Name: "DIF3/renamed and deleted", Before: tree, Do: "mv a b; rm -r b", Want: gone},
		{Name: "DIF3/renamed and replaced by a file", Before: tree, Do: "mv a b; echo x >a", Want: under("b", "! a", "- a/f", "- a/s", "- a/s/f", "- a/s/t", "- a/s/t/f")},
		{Name: "DIF3/a directory and the parent of what is moved in", Before: tree, Do: "mv x a/s/; mv a b", Want: append(under("b", "+ b/s/x", "+ b/s/x/f", "- x", "- x/f"), gone...)},
		{Name: "DIF3/part of a renamed directory made anew", Before: tree, Do: "mv a b; rm -r b/s; mkdir b/s; echo n >b/s/n", Want: append([]string{"+ b", "+ b/f", "+ b/s", "+ b/s/n"}, gone...)},
	}
}

// linkCases are about files with several names.
func linkCases() []Case {
	const two = "echo a >a; ln a b; "
	return []Case{
		{Name: "DIF3/hard link made", Before: "echo a >a", Do: "ln a b", Want: []string{"+ b"}},
		{Name: "DIF3/hard link to a new file", Do: "echo a >a; ln a b", Want: []string{"+ a", "+ b"}},
		{Name: "DIF3/append through one name", Before: two, Do: "echo b >>a", Want: []string{"~ a", "~ b"}},
		{Name: "DIF3/chmod through one name", Before: two, Do: "chmod 600 b", Want: []string{"~ a", "~ b"}},
		{Name: "DIF5/one name opened for writing", Before: two, Do: ": <>a"},
		{Name: "DIF3/one name deleted", Before: two, Do: "rm a", Want: []string{"- a"}},
		{Name: "DIF3/written, then that name deleted", Before: two, Do: "echo b >>a; rm a", Want: []string{"- a", "~ b"}},
		{Name: "DIF3/one name deleted, then the other written", Before: two, Do: "rm a; echo b >>b", Want: []string{"- a", "~ b"}},
		{Name: "DIF3/all names deleted", Before: two, Do: "echo b >>a; rm a b", Want: []string{"- a", "- b"}},
		{Name: "DIF3/one name replaced", Before: two, Do: "echo b >t; mv t a", Want: []string{"~ a"}},
		{Name: "DIF3/one name deleted and made anew", Before: two, Do: "rm a; echo b >a", Want: []string{"~ a"}},
		{Name: "DIF3/written, then that name made anew", Before: two, Do: "echo b >>a; rm a; echo c >a", Want: []string{"~ a", "~ b"}},
		{Name: "DIF3/written, then that name renamed", Before: two, Do: "echo b >>a; mv a c", Want: []string{"- a", "~ b", "+ c"}},
		{Name: "DIF3/one name more, then written through it", Before: two, Do: "ln a c; echo b >>c", Want: []string{"~ a", "~ b", "+ c"}},
		{Name: "DIF3/link count one, one name more, then written", Before: "echo a >a", Do: "ln a c; echo b >>c", Want: []string{"~ a", "+ c"}},
		{Name: "DIF3/names in a renamed directory", Before: "mkdir d; echo a >d/a; ln d/a d/b", Do: "echo b >>d/a; mv d e", Want: []string{"- d", "- d/a", "- d/b", "+ e", "+ e/a", "+ e/b"}},
		{Name: "DIF3/names in a renamed directory, written after", Before: "mkdir d; echo a >d/a; ln d/a d/b", Do: "mv d e; echo b >>e/a; rm e/a", Want: []string{"- d", "- d/a", "- d/b", "+ e", "+ e/b"}},
		{Name: "DIF3/names in two directories", Before: "mkdir c d; echo a >c/a; ln c/a d/b; echo x >d/x", Do: "echo b >>c/a; echo y >>d/b", Want: []string{"~ c/a", "~ d/b"}},
		{Name: "DIF3/name in a directory that is not looked into", Before: "mkdir c d; echo a >c/a; ln c/a d/b", Do: "echo b >>c/a", Want: []string{"~ c/a"}}, // and a note
		{Name: "DIF3/symlink with two names", Before: "ln -s x a; ln a b", Do: "touch -h a", Want: []string{"~ a", "~ b"}},
	}
}

// layerCases are situations from the tests of two container engines, written anew.
//
// Source: containerd/continuity fs/diff_test.go; moby/go-archive changes_test.go,
// changes_posix_test.go.
func layerCases() []Case {
	const sample = "mkdir -p dir1 dir2 dir3 dir4; for i in 1 2; do echo $i >dir1/file1-$i; done; echo 2 >dir2/file2-1; echo 3 >dir3/file3-1; echo 4 >dir4/file4-1; " +
		"for i in 1 2 3 4 5 6; do echo file$i >file$i; done; ln -s target1 symlink1; ln -s target2 symlink2; ln -s target3 symlink3; chmod 604 file6; "
	return []Case{
		{
			Name: "DIF4/layers: a small system", Before: "mkdir etc; for f in hosts profile unchanged unexpected; do echo $f >etc/$f; done", Do: "echo 10.0.0.120 >etc/hosts; chmod 666 etc/profile; mkdir -m 700 root; echo x >root/.bashrc; rm etc/unexpected",
			Want: []string{"~ etc/hosts", "~ etc/profile", "- etc/unexpected", "+ root", "+ root/.bashrc"},
		},
		{Name: "DIF4/layers: all of it new", Do: "mkdir etc; echo x >etc/hosts; echo y >etc/profile; mkdir -m 700 root; echo x >root/.bashrc", Want: []string{"+ etc", "+ etc/hosts", "+ etc/profile", "+ root", "+ root/.bashrc"}},
		{Name: "DIF4/layers: empty file left alone", Before: "mkdir etc; : >etc/empty"},
		{Name: "DIF4/layers: nested deletion", Before: "mkdir -p d0 d1/d2; echo x >d1/d2/f1", Do: "rm -r d0 d1", Want: []string{"- d0", "- d1", "- d1/d2", "- d1/d2/f1"}},
		{Name: "DIF4/layers: directory replaced beside a new file", Before: "mkdir -p dir1/f2; echo 1 >dir1/f1; echo 3 >dir1/f2/f3", Do: "echo n >dir1/f11; rm -r dir1/f2; echo file >dir1/f2", Want: []string{"+ dir1/f11", "! dir1/f2", "- dir1/f2/f3"}},
		{Name: "DIF4/layers: name that is the start of another", Before: "mkdir -p dir1/dir2/dir3 dir1-before; echo 1 >dir1/f1; echo 2 >dir1/dir2/f2; echo 2 >dir1-before/f2", Do: "rm -r dir1", Want: []string{"- dir1", "- dir1/dir2", "- dir1/dir2/dir3", "- dir1/dir2/f2", "- dir1/f1"}},
		{Name: "DIF4/layers: file replaced by a tree", Before: "echo x >dir1", Do: "rm dir1; mkdir -p dir1/dir2; echo y >dir1/dir2/f1", Want: []string{"! dir1", "+ dir1/dir2", "+ dir1/dir2/f1"}},
		{Name: "DIF4/layers: modes of parents stay", Before: "mkdir -m 700 dir1; mkdir -m 751 dir2; mkdir -m 777 dir3", Do: "mkdir -m 700 dir1/d; echo x >dir1/d/f; for i in 1 2 3; do echo x >dir$i/f; done", Want: []string{"+ dir1/d", "+ dir1/d/f", "+ dir1/f", "+ dir2/f", "+ dir3/f"}},
		{Name: "DIF4/layers: same time, other bytes", Before: "for i in 1 2 3; do printf 1 >f$i; done", Do: `printf 2 >f1; printf 2 >f2; printf 1 >f3; touch -d "$OLD" f2 f3`, Want: []string{"~ f1", "~ f2"}},
		{Name: "DIF4/layers: time cut to a second", Before: "printf 1 >f", Do: `touch -d "2001-02-03 04:05:06 UTC" f`, Want: []string{"~ f"}},
		{Name: "DIF4/layers: symlink's own time", Before: "echo foo >foo; ln -s foo l", Do: `touch -h -d "1970-01-01 00:00:00.000000042 UTC" l`, Want: []string{"~ l"}},
		{Name: "DIF4/layers: opaque and merged directories", Before: "mkdir -p dir1/d dir2/d dir3; echo f >dir1/f; echo f >dir1/d/f; echo f >dir2/d/f; echo f >dir3/f", Do: "echo d >>dir1/f; rm -r dir1/d; echo d >>dir2/d/f; rm -r dir3; mkdir dir3", Want: []string{"~ dir1/f", "- dir1/d", "- dir1/d/f", "~ dir2/d/f", "- dir3/f"}},
		{Name: "DIF4/layers: sample left alone", Before: sample},
		{
			Name: "DIF4/layers: sample changed", Before: sample, Do: "rm -r file1 dir1 symlink1; echo NN >file2; chmod 777 file2; rm file3; echo MM >file3; touch file4; rm file5; mkdir file5; echo n >filenew; mkdir dirnew; ln -s targetnew symlinknew; rm symlink2; ln -s target2change symlink2; rm -r dir2; echo dir2 >dir2; touch dir3",
			Want: []string{"- dir1", "- dir1/file1-1", "- dir1/file1-2", "! dir2", "- dir2/file2-1", "+ dirnew", "- file1", "~ file2", "~ file3", "~ file4", "! file5", "+ filenew", "- symlink1", "~ symlink2", "+ symlinknew"},
		},
		{Name: "DIF4/layers: file added below a merged path", Before: "mkdir -p dir1/dir2/dir3; echo hello >dir1/dir2/dir3/file.txt", Do: "echo bye >dir1/dir2/dir3/file1.txt; rm dir1/dir2/dir3/file.txt", Want: []string{"+ dir1/dir2/dir3/file1.txt", "- dir1/dir2/dir3/file.txt"}},
		{Name: "DIF4/layers: file changed below a merged path", Before: "mkdir -p dir1/dir2/dir3; echo hello >dir1/dir2/dir3/file.txt", Do: "echo bye >dir1/dir2/dir3/file.txt", Want: []string{"~ dir1/dir2/dir3/file.txt"}},
		{Name: "DIF4/layers: subfolder beside a deletion", Before: sample + "mkdir -p dir1/subfolder", Do: "rm dir1/file1-2; printf '\\0' >dir1/file1-1; chmod 1444 dir1/file1-1; : >dir1/subfolder/newFile", Want: []string{"~ dir1/file1-1", "- dir1/file1-2", "+ dir1/subfolder/newFile"}},
		{Name: "DIF4/layers: many links to each of some files", Before: "for i in 1 2 3; do echo hey >file$i; done", Do: "for i in 1 2 3; do for k in 0 1 2; do ln file$i file$i.link$k; done; done", Want: []string{"+ file1.link0", "+ file1.link1", "+ file1.link2", "+ file2.link0", "+ file2.link1", "+ file2.link2", "+ file3.link0", "+ file3.link1", "+ file3.link2"}},
	}
}
