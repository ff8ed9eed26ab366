package layout

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"substrate/internal/testenv"
)

// insideCases are small scripts and what they print in a world, for root and for an ordinary user.
var insideCases = []struct{ name, script, root, user string }{
	{"run is new", `ls -A /run`, "lock\nuser", ""},
	{"run for the caller", `cd /run/user/$(id -u) && touch x && ls`, "x", ""},
	{"dev is small", `ls /dev | tr '\n' ' '`, "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ", ""},
	{"devices work", `echo x > /dev/null && head -c 2 /dev/zero | wc -c && ls /dev/fd/0`, "2\n/dev/fd/0", ""},
	{"a terminal can be made", `exec 3<> /dev/ptmx && ls /dev/pts`, "0\nptmx", ""},
	{"shared memory", `echo x > /dev/shm/a && cat /dev/shm/a`, "x", ""},
	{"proc is the world's", `cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l | grep -c '^[1-5]$'`, "sh\n1", ""},
	{"sysctls", `echo 1 > /proc/sys/vm/drop_caches`, "cannot create /proc/sys/vm/drop_caches: Read-only file system", "cannot create /proc/sys/vm/drop_caches: Permission denied"},
	{"sysrq", `if test -e /proc/sysrq-trigger; then echo h > /proc/sysrq-trigger; fi 2>&1 | grep -cv 'Read-only\|denied'`, "0", ""},
	{"memory", `if test -e /proc/kcore; then head -c 1 /proc/kcore 2> /dev/null; fi | wc -c`, "0", ""},
	{"keys", `wc -c < /proc/timer_list; true`, "0", "cannot open /proc/timer_list: Permission denied"},
	{"sys", `mkdir /sys/x; ls /sys/class/net`, "mkdir: cannot create directory '/sys/x': Read-only file system\nlo", ""},
	{"resolver", `cat /etc/resolv.conf; echo x > /etc/resolv.conf`, "nameserver 10.250.0.1\ncannot create /etc/resolv.conf: Read-only file system", ""},
	{"a proc elsewhere is hidden", `ls -A chroot/proc; touch chroot/proc/x`, "touch: cannot touch 'chroot/proc/x': Read-only file system", ""},
	{"read-only mounts stay so", `cat ro/a; touch ro/x; touch snap/x`, "host\ntouch: cannot touch 'ro/x': Read-only file system\ntouch: cannot touch 'snap/x': Read-only file system", "host\ntouch: cannot touch 'ro/x': Read-only file system\ntouch: cannot touch 'snap/x': Permission denied"},
	{"noexec stays", `cp /bin/true nested/t && nested/t`, "nested/t: Permission denied", ""},
	{
		"a user gains nothing", `touch /x /etc/x && ls /root > /dev/null && touch foreign/x && echo root`, "root",
		"touch: cannot touch '/x': Permission denied\ntouch: cannot touch '/etc/x': Permission denied",
	},
	{"modes", `stat -c %a / /etc /tmp /usr | tr '\n' ' '`, "755 755 1777 755 ", "555 555 1777 555 "},
	{"a mounted file", `cat file; echo x > file; cat file filesrc`, "host\nx\nhost", ""},
	{
		"below mounts", `rm -r own/dir && mkdir own/dir && ls -A own/dir; ls own`, "a\ndir\nlink\nmnt",
		// A limit: a mount point of the world cannot be removed.
		"rm: cannot remove 'own/dir': Device or resource busy\na\ndir\nlink\nmnt",
	},
	{
		"somebody else's file", `echo more >> theirs && tail -n 1 theirs`, "more",
		// A limit of the kernel: it does not copy up files of a user who is not mapped. Here the
		// file is a copy, so it works.
		"more",
	},
	{"somebody else's file in an overlay", `echo more >> plain/theirs`, "", "cannot create plain/theirs: Value too large for defined data type"},
	{"somebody else's working directory", `cd foreign/cwd && touch new && mkdir dir && ls`, "dir\nnew", ""},
	{"/var/tmp", `touch /var/tmp/x && rm /var/tmp/x`, "", ""},
}

// WLD4: what a command sees in a world.
func TestInside(t *testing.T) {
	for who, uid := range map[string]int{"root": 0, "user": testenv.UID} {
		t.Run(who, func(t *testing.T) {
			testenv.InRoot(t, func(t *testing.T) {
				m := newMachine(t, uid)
				m.write("theirs", "x\n")
				m.write("plain/theirs", "x\n")
				must(t, os.Chmod(m.dir+"/foreign/cwd", 0o777))
				var script strings.Builder // one world for all cases
				for _, tc := range insideCases {
					fmt.Fprintf(&script, "(cd %s\n%s\n)\necho; echo %s\n", m.dir, tc.script, endOfCase)
				}
				got := strings.Split(m.run(uid, m.dir+"/foreign/cwd", script.String()), "\n"+endOfCase+"\n")
				for i, tc := range insideCases {
					want := tc.root
					if uid != 0 && tc.user != "" {
						want = tc.user
					}
					if got := tidy(got[i]); got != want {
						t.Errorf("%s: %s\nprints %q\nwant   %q", tc.name, tc.script, got, want)
					}
				}
			})
		})
	}
}

// endOfCase separates the output of two cases.
const endOfCase = "== end of case =="

// tidy removes the prefix of dash's messages.
func tidy(out string) string {
	var lines []string
	for _, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		if rest, found := strings.CutPrefix(line, "sh: "); found {
			_, line, _ = strings.Cut(rest, ": ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// WLD4: sockets of the host cannot be reached, whatever mount they are in.
func TestSocketsOfTheHost(t *testing.T) {
	for who, uid := range map[string]int{"root": 0, "user": testenv.UID} {
		t.Run(who, func(t *testing.T) {
			testenv.InRoot(t, func(t *testing.T) {
				m := newMachine(t, uid)
				must(t, os.Chdir(m.dir)) // paths of sockets must be short
				for _, dir := range []string{"plain", "tmpfs", "bind", "own", "nested"} {
					l, err := net.Listen("unix", dir+"/socket")
					must(t, err)
					defer l.Close()
					must(t, os.Chmod(dir+"/socket", 0o777))
				}
				m.remountReadOnly("tmpfs")
				for _, dir := range []string{"plain", "tmpfs", "bind", "own", "nested"} {
					c, err := net.Dial("unix", dir+"/socket")
					if err != nil {
						t.Fatalf("on the host: %v", err)
					}
					c.Close()
					if got := m.run(uid, m.dir, connect+dir+"/socket"); !strings.HasPrefix(got, "cannot connect\n") {
						t.Errorf("the socket of the host in %s can be reached: %q", dir, got)
					}
				}
			})
		})
	}
}
