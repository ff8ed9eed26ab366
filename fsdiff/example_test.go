package fsdiff_test

import (
	"fmt"

	"substrate/fsdiff"
)

// Build the list of what a command changed below /project and print it as a report does.
func ExampleBuilder() {
	file := fsdiff.Meta{FileType: fsdiff.File, Mode: "0644", Size: 12}
	b := fsdiff.New("/project", "overlay", fsdiff.DefaultMax)
	b.Add("/project/notes.txt", fsdiff.Modify, file, &file)
	b.Add("/project/new file", fsdiff.Create, file, nil)
	b.Add("/etc/motd", fsdiff.Delete, file, &file)
	diff := b.Finish()

	fmt.Println(diff.Summary)
	for i := range diff.Entries {
		fmt.Println(fsdiff.Line(&diff.Entries[i]))
	}
	// Output:
	// 1 created, 1 modified, 1 deleted
	//   - /etc/motd
	//   + new file
	//   ~ notes.txt
}

// A path can hold any byte; a report shows it on one line, and nothing is lost.
func ExampleEscape() {
	shown := fsdiff.Escape("two\nlines")
	name, err := fsdiff.Unescape(shown)
	fmt.Printf("%s %q %v\n", shown, name, err)
	// Output: two\nlines "two\nlines" <nil>
}
