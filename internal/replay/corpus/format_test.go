package corpus

import (
	"reflect"
	"strings"
	"testing"
)

// TestParse: data files are parsed as testdata/README.md describes.
func TestParse(t *testing.T) {
	list, err := parseSnippets("topic", "free text\n\n=== one\necho a\n\necho b\n\n=== two\n--- flags -e -o pipefail\n"+
		"--- args \"n\" \"a b\"\n--- umask 027\n--- file ~/f 0755\nx\n\n--- stdin quoted\n\"\"\n--- except BD stderr,files user: because\n"+
		"--- cmd quoted\n\"a\\xff\"\n\"b\" * 3\n")
	if err != nil {
		t.Fatal(err)
	}
	empty := ""
	want := []*snippet{
		{topic: "topic", name: "one", cmd: "echo a\n\necho b", umask: -1},
		{
			topic: "topic", name: "two", cmd: "a\xffbbb", umask: 0o027, flags: []string{"-e", "-o", "pipefail"}, args: []string{"n", "a b"},
			stdin: &empty, setup: []entry{{kind: "file", path: "~/f", mode: 0o755, data: "x\n"}},
			exceptions: []exception{{runs: "BD", parts: "stderr,files", who: "user", reason: "because"}},
		},
	}
	if !reflect.DeepEqual(list, want) {
		t.Errorf("parseSnippets = %+v, %+v, want %+v, %+v", list[0], list[1], want[0], want[1])
	}
	two := list[1]
	if _, ok := two.excused("D", "files", "user"); !ok {
		t.Error("the exception does not cover what it names")
	}
	for _, other := range [][3]string{{"C", "files", "user"}, {"D", "stdout", "user"}, {"D", "files", "root"}} {
		if _, ok := two.excused(other[0], other[1], other[2]); ok {
			t.Errorf("the exception covers %v", other)
		}
	}
}

// TestParseRefuses: a mistake in a data file is an error. If an "only" after the command became
// part of it, root would run what only a user may run.
func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{"echo a\n--- only user\n", "section after the command"},
		{"--- onyl user\n--- cmd\nx\n", "unknown section"},
		{"--- only user\nx\n", "unexpected text"},
		{"--- only user\n", "no command"},
		{"--- only users\n--- cmd\nx\n", "want root or user"},
		{"--- except A stdout: x\n--- cmd\nx\n", "want RUNS PARTS"},
		{"--- except D stdout\n--- cmd\nx\n", "want RUNS PARTS"},
		{"--- except D output: x\n--- cmd\nx\n", "want RUNS PARTS"},
		{"--- cmd quoted\nx\n", "no Go string"},
	} {
		_, err := parseSnippets("topic", "=== name\n"+tt.body)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("parseSnippets(%q) gives the error %v, want %q", tt.body, err, tt.want)
		}
	}
}

// TestChanges: the expected changes follow DIF1 and DIF4.
func TestChanges(t *testing.T) {
	file := node{kind: "file", mode: 0o644, links: 1, content: "x", mtime: 1}
	touched, linked, dir := file, file, node{kind: "dir", mode: 0o755}
	touched.mtime, linked.links = 2, 2
	before := tree{"/w": dir, "/w/same": file, "/w/touched": file, "/w/linked": file, "/w/gone": file, "/w/d": dir, "/w/d/f": file, "/h": file}
	after := tree{"/w": dir, "/w/same": file, "/w/touched": touched, "/w/linked": linked, "/w/new": file, "/w/d": file, "/h": touched}
	want := map[string]string{
		"touched": "modify", "gone": "delete", "new": "create", "d": "type_change", "d/f": "delete", "/h": "modify",
	}
	if got := changes(before, after, "/w"); !reflect.DeepEqual(got, want) {
		t.Errorf("changes = %v, want %v", got, want)
	}
}

// TestDifferences: differences are found, so the corpus can fail.
func TestDifferences(t *testing.T) {
	file := node{kind: "file", mode: 0o644, content: "x", mtime: 1}
	later, other := file, file
	later.mtime, other.mode = 2, 0o600
	for _, tt := range []struct {
		name      string
		want, got tree
		times     bool
		n         int
	}{
		{"equal", tree{"/a": file}, tree{"/a": file}, true, 0},
		{"later, but no times", tree{"/a": file}, tree{"/a": later}, false, 0},
		{"later", tree{"/a": file}, tree{"/a": later}, true, 1},
		{"mode", tree{"/a": file}, tree{"/a": other}, false, 1},
		{"missing and new", tree{"/a": file}, tree{"/b": file}, false, 2},
	} {
		if got := differences(tt.want, tt.got, tt.times); len(got) != tt.n {
			t.Errorf("%s: differences = %q, want %d", tt.name, got, tt.n)
		}
	}
	if bytesDifference([]byte("a"), []byte("a")) != nil || bytesDifference([]byte("a"), []byte("ab")) == nil {
		t.Error("bytesDifference does not distinguish equal from different")
	}
}
