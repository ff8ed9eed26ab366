// Command probe prints what package inherited knows.
package main

import (
	"fmt"

	"substrate/internal/inherited"
)

func main() {
	soft, hard, ok := inherited.NoFile()
	fmt.Printf("known %v\nignored %016x\nnofile %d %d %v\nclosed %v %v %v\n", inherited.Known(), inherited.Ignored(),
		soft, hard, ok, inherited.Closed(0), inherited.Closed(1), inherited.Closed(2))
}
