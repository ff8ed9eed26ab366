package viewtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Cases returns the table. In scripts, $OLD is the time of all files before the change.
func Cases() []Case {
	return slices.Concat(fileCases(), metadataCases(), dirCases(), swapCases(), renameCases(), linkCases(), nameCases(), layerCases())
}

// fileCases are about regular files and their content.
func fileCases() []Case {
	return []Case{
		{Name: "DIF3/nothing", Before: "mkdir d; echo a >d/f; ln -s f d/l", Do: "cat d/f >/dev/null; ls -lR"},
		{Name: "DIF3/create", Do: "echo hello >out.txt", Want: []string{"+ out.txt"}},
		{Name: "DIF3/create empty", Do: ": >empty", Want: []string{"+ empty"}},
		{Name: "DIF3/create in new directories", Do: "mkdir -p demo/a && echo data >demo/a/file.txt", Want: []string{"+ demo", "+ demo/a", "+ demo/a/file.txt"}},
		{Name: "DIF3/create in a directory that was there", Before: "mkdir -p d/e", Do: "echo x >d/e/f", Want: []string{"+ d/e/f"}},
		{Name: "DIF3/append", Before: "echo a >f", Do: "echo b >>f", Want: []string{"~ f"}},
		{Name: "DIF3/append nothing", Before: "echo a >f", Do: ": >>f"},
		{Name: "DIF3/truncate", Before: "echo a >f", Do: ": >f", Want: []string{"~ f"}},
		{Name: "DIF3/truncate to more", Before: "echo a >f", Do: "truncate -s 100 f", Want: []string{"~ f"}},
		{Name: "DIF3/overwrite with other bytes", Before: "echo abc >f", Do: "echo abd >f", Want: []string{"~ f"}},
		{Name: "DIF4/overwrite with equal bytes", Before: "echo abc >f", Do: "echo abc >f", Want: []string{"~ f"}},
		{Name: "DIF4/overwrite with equal bytes, time put back", Before: "echo abc >f", Do: `echo abc >f; touch -d "$OLD" f`},
		{Name: "DIF3/other bytes of equal length, time put back", Before: "echo abc >f", Do: `echo abd >f; touch -d "$OLD" f`, Want: []string{"~ f"}},
		{Name: "DIF3/last byte of a big file, time put back", Before: "head -c 3000000 /dev/zero | tr '\\0' x >f", Do: `printf y | dd of=f bs=1 seek=2999999 conv=notrunc status=none; touch -d "$OLD" f`, Want: []string{"~ f"}},
		{Name: "DIF5/opened for writing", Before: "echo abc >f; mkdir d; echo x >d/g", Do: ": <>f; : >>d/g"},
		{Name: "DIF5/opened for writing, big", Before: "head -c 3000000 /dev/urandom >f", Do: ": <>f"},
		{Name: "DIF3/delete file", Before: "echo a >f; echo b >g", Do: "rm f", Want: []string{"- f"}},
		{Name: "DIF3/delete file in a directory", Before: "mkdir d; echo a >d/f; echo b >d/g", Do: "rm d/f", Want: []string{"- d/f"}},
		{Name: "DIF4/create and delete", Do: "echo a >f; mkdir d; echo b >d/g; rm -r f d"},
		{Name: "DIF4/create and delete where files are", Before: "mkdir d; echo a >d/f", Do: "echo a >d/g; rm d/g"},
		{Name: "DIF3/delete and create", Before: "echo a >f", Do: "rm f; echo b >f", Want: []string{"~ f"}},
		{Name: "DIF3/delete and create the same", Before: "echo a >f", Do: `rm f; echo a >f; touch -d "$OLD" f`},
		{Name: "DIF3/replace by rename", Before: "echo a >f", Do: "echo b >t; mv t f", Want: []string{"~ f"}},
		{Name: "DIF3/edit in place by sed", Before: "echo a >f", Do: "sed -i s/a/b/ f", Want: []string{"~ f"}},
		{Name: "DIF3/sparse file", Do: "truncate -s 8G big; printf x | dd of=big bs=1 seek=5000000000 conv=notrunc status=none; rm -f big; truncate -s 64M f", Want: []string{"+ f"}},
		{Name: "DIF3/sparse file touched", Before: "truncate -s 64M f", Do: "touch f", Want: []string{"~ f"}},
		{Name: "DIF5/sparse file opened", Before: "truncate -s 64M f; printf x | dd of=f bs=1 seek=5000000 conv=notrunc status=none", Do: ": <>f"},
		{Name: "DIF3/hole filled with zeros", Before: "truncate -s 1M f", Do: `dd if=/dev/zero of=f bs=64k count=2 conv=notrunc status=none; touch -d "$OLD" f`},
		{Name: "DIF3/data in a hole", Before: "truncate -s 8M f", Do: `printf x | dd of=f bs=1 seek=5000000 conv=notrunc status=none; touch -d "$OLD" f`, Want: []string{"~ f"}},
	}
}

// metadataCases are about everything but content.
func metadataCases() []Case {
	return []Case{
		{Name: "DIF3/chmod", Before: "echo a >f; mkdir d", Do: "chmod 600 f; chmod 700 d", Want: []string{"~ f", "~ d"}},
		{Name: "DIF5/chmod to the same", Before: "echo a >f; mkdir d; echo b >d/g", Do: "chmod 644 f d/g; chmod 755 d"},
		{Name: "DIF5/chmod and back", Before: "echo a >f; mkdir d", Do: "chmod 600 f; chmod 644 f; chmod 0 d; chmod 755 d"},
		{Name: "DIF3/setuid and sticky", Before: "echo a >f; mkdir d", Do: "chmod 4755 f; chmod 1755 d", Want: []string{"~ f", "~ d"}},
		{Name: "DIF3/mode 000", Before: "mkdir -p d/e; echo a >d/e/f; echo x >g", Do: "echo b >>d/e/f; mkdir d/n; echo n >d/n/n; chmod 0 g d/e/f d/e d/n d", Want: []string{"~ d", "~ d/e", "~ d/e/f", "+ d/n", "+ d/n/n", "~ g"}},
		{Name: "DIF3/mode of a directory without search", Before: "mkdir d; echo a >d/f", Do: "echo b >>d/f; chmod 600 d", Want: []string{"~ d", "~ d/f"}},
		{Name: "DIF3/chown", Root: true, Before: "echo a >f; mkdir d; ln -s x l; mkfifo p", Do: "chown 7:8 f; chgrp 9 d; chown -h 7 l; chown 7 p", Want: []string{"~ f", "~ d", "~ l", "~ p"}},
		{Name: "DIF5/chown to the same", Root: true, Before: "echo a >f; mkdir d; ln -s x l", Do: "chown 0:0 f d; chown -h 0:0 l"},
		{Name: "DIF4/touch of a file", Before: "echo a >f", Do: "touch f", Want: []string{"~ f"}},
		{Name: "DIF4/touch by a nanosecond", Before: "echo a >f", Do: `touch -d "2001-02-03 04:05:06.123456788 UTC" f`, Want: []string{"~ f"}},
		{Name: "DIF4/touch to the same time", Before: "echo a >f", Do: `touch -d "$OLD" f`},
		{Name: "DIF4/touch of the access time only", Before: "echo a >f", Do: "touch -a f"},
		{Name: "DIF4/touch of a directory", Before: "mkdir d", Do: "touch d"},
		{Name: "DIF4/touch of a symlink, a fifo and a socket", Before: "ln -s x l; mkfifo p", First: socket("s"), Do: "touch -h l; touch p s", Want: []string{"~ l", "~ p", "~ s"}},
		{Name: "DIF4/touch to before 1970", Before: "echo a >f", Do: `touch -d "1960-02-03 04:05:06.5 UTC" f`, Want: []string{"~ f"}},
		{Name: "DIF3/xattr set", Before: "echo a >f; mkdir d", Also: setXattrs("user.x", "1", "f", "d"), Want: []string{"~ f", "~ d"}},
		{Name: "DIF3/xattr of another value", Before: "echo a >f; mkdir d", First: setXattrs("user.x", "1", "f", "d"), Also: setXattrs("user.x", "2", "f", "d"), Want: []string{"~ f", "~ d"}},
		{Name: "DIF5/xattr of the same value", Before: "echo a >f; mkdir d", First: setXattrs("user.x", "1", "f", "d"), Also: setXattrs("user.x", "1", "f", "d")},
		{Name: "DIF3/xattr removed", Before: "echo a >f; mkdir d", First: setXattrs("user.x", "", "f", "d"), Also: removeXattrs("user.x", "f", "d"), Want: []string{"~ f", "~ d"}},
		{Name: "DIF4/xattrs with the names of marks", Before: "mkdir d; echo a >d/f; : >e", Also: setXattrs("user.overlay.opaque", "y", "d", "e"), Want: []string{"~ d", "~ e"}},
		{Name: "DIF4/xattr with the name of a whiteout", Before: "mkdir d; : >d/f", Do: ": >n", Also: setXattrs("user.overlay.whiteout", "", "d/f", "n"), Want: []string{"~ d/f", "+ n"}},
		{Name: "DIF4/trusted xattrs with the names of marks", Root: true, Before: "mkdir d; echo a >d/f; : >e", Also: setXattrs("trusted.overlay.opaque", "y", "d", "e"), Want: []string{"~ d", "~ e"}},
		{Name: "DIF5/file with capabilities opened", Root: true, Before: "cp /bin/true t; setcap cap_net_raw+ep t", Do: ": <>t"},
		{Name: "DIF3/symlink target", Before: "ln -s a l", Do: "ln -sfn b l", Want: []string{"~ l"}},
		{Name: "DIF3/symlink to the same target", Before: "ln -s a l", Do: `ln -sfn a l; touch -h -d "$OLD" l`},
		{Name: "DIF3/symlink target of equal length, time put back", Before: "ln -s a l", Do: `ln -sfn b l; touch -h -d "$OLD" l`, Want: []string{"~ l"}},
		{Name: "DIF3/through a symlink", Before: "mkdir d; echo a >d/f; ln -s d/f l; ln -s d m", Do: "echo b >>l; echo c >m/g", Want: []string{"~ d/f", "+ d/g"}},
		{Name: "DIF3/new special files", Do: "mkfifo p; ln -s nowhere l", Also: socket("s"), Want: []string{"+ p", "+ l", "+ s"}},
		{Name: "DIF3/special files deleted", Before: "mkfifo p; ln -s nowhere l", First: socket("s"), Do: "rm p l s", Want: []string{"- p", "- l", "- s"}},
		{Name: "DIF3/special files chmodded", Before: "mkfifo p", First: socket("s"), Do: "chmod 600 p s", Want: []string{"~ p", "~ s"}},
		{Name: "DIF3/mode of the root", Do: "chmod 711 .", Want: []string{"~ ROOT"}},
		{Name: "DIF3/root touched", Do: "touch ."},
		{Name: "DIF3/devices", Root: true, Before: "mknod n c 1 3; mknod b b 7 99", Do: "chmod 600 n; rm b; mknod b b 7 98; mknod z c 1 5", Want: []string{"~ n", "~ b", "+ z"}},
		{Name: "DIF4/a device 0/0 in the covered directory is hidden", Root: true, Before: "mkdir d; mknod d/w c 0 0; echo a >d/f", Do: "rm -rf d", Want: []string{"- d", "- d/f"}},
	}
}

// socket makes a unix socket.
func socket(name string) func(string) error {
	return func(root string) error { return unix.Mknod(filepath.Join(root, name), unix.S_IFSOCK|0o644, 0) }
}

func setXattrs(name, value string, files ...string) func(string) error {
	return func(root string) error {
		for _, f := range files {
			if err := unix.Setxattr(filepath.Join(root, f), name, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	}
}

func removeXattrs(name string, files ...string) func(string) error {
	return func(root string) error {
		for _, f := range files {
			if err := unix.Removexattr(filepath.Join(root, f), name); err != nil {
				return err
			}
		}
		return nil
	}
}

// nameCases are about unusual names.
func nameCases() []Case {
	long := strings.Repeat("é", 127) + "x" // 255 bytes
	odd := []string{"new\nline", "-rf", "😀", "bad\xff\xfe", ".wh", ".whf", " ", "tab\t", "\\", "'\"$`", "\x01\x7f", "#1", "*"}
	each := func(f func(path string) error) func(string) error {
		return func(root string) error {
			for _, name := range odd {
				if err := f(filepath.Join(root, name)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	shown := []string{`new\nline`, "-rf", "😀", `bad\xff\xfe`, ".wh", ".whf", " ", `tab\t`, `\\`, "'\"$`", `\x01\x7f`, "#1", "*"}
	marked := func(mark string) (want []string) {
		for _, s := range shown {
			want = append(want, mark+" "+s)
		}
		return want
	}
	write := each(func(p string) error { return os.WriteFile(p, []byte("x"), 0o644) })
	return []Case{
		{Name: "DIF3/odd names created", Also: write, Want: marked("+")},
		{Name: "DIF3/odd names deleted", First: write, Also: each(os.Remove), Want: marked("-")},
		{Name: "DIF3/odd names modified", First: write, Also: each(func(p string) error { return os.Truncate(p, 9) }), Want: marked("~")},
		{Name: "DIF3/odd names replaced", First: write, Also: each(func(p string) error {
			if err := os.Remove(p); err != nil {
				return err
			}
			return os.Mkdir(p, 0o755)
		}), Want: marked("!")},
		{Name: "DIF1/symlink targets of any bytes", Before: "ln -s x l", Do: `ln -s $'bad\xff' m; ln -sfn $'\xfe\n' l; ln -s 😀 n`, Want: []string{"~ l", "+ m", "+ n"}},
		{Name: "DIF3/longest name created", Do: ": >" + long, Want: []string{"+ " + long}},
		{Name: "DIF3/longest name deleted", Before: "echo a >" + long, Do: "rm " + long, Want: []string{"- " + long}},
		{Name: "DIF3/longest name modified", Before: "echo a >" + long, Do: "echo b >>" + long, Want: []string{"~ " + long}},
		{Name: "DIF3/whiteout names created", Do: ": >.wh..wh..opq; : >.wh..opq; : >.wh.f", Want: []string{"+ .wh..opq", "+ .wh..wh..opq", "+ .wh.f"}},
		{Name: "DIF3/whiteout names deleted", Before: "echo a >.wh.f; : >.wh..opq", Do: "rm .wh.f .wh..opq", Want: []string{"- .wh..opq", "- .wh.f"}},
		{Name: "DIF3/a file that a whiteout name hides", Before: "echo a >.wh.f; echo f >f", Do: "echo b >>f", Want: []string{"~ f"}},
		{Name: "DIF3/beside whiteout names", Before: "echo a >.wh.f; echo g >g", Do: "rm g", Want: []string{"- g"}},
		{Name: "DIF4/whiteout names of fuse-overlayfs are files here", Before: "mkdir d; echo a >d/f; echo b >d/.wh.g", Do: "echo x >d/.wh.f; mkdir e; : >e/.wh..wh..opq; rm d/.wh.g", Want: []string{"+ d/.wh.f", "- d/.wh.g", "+ e", "+ e/.wh..wh..opq"}},
	}
}
