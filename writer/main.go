// Command writer stores events: for each accepted one it does two inserts, atomically, and answers once they are durable.
package main

import (
	"keygate/shared/lifecycle"
	"keygate/writer/command"
)

func main() { lifecycle.Main(command.App()) }
