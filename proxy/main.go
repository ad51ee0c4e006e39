// Command proxy finds out who is calling from an API key, without asking the database for it each time, and forwards the
// request with the organisation in a header that the upstream can trust.
package main

import (
	"keygate/proxy/command"
	"keygate/shared/lifecycle"
)

func main() { lifecycle.Main(command.App()) }
