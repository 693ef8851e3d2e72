//go:build tools

// Package mihomo pins the Mihomo that the tests run: `go build
// github.com/metacubex/mihomo` in this directory builds exactly that version.
package mihomo

import _ "github.com/metacubex/mihomo"
