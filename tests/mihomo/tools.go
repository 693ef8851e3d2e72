//go:build tools
package mihomo
import _ "github.com/metacubex/mihomo"
