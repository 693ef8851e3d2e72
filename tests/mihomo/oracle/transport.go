package main

import (
	"strings"

	"github.com/metacubex/mihomo/adapter/outbound"
)

// transport is what the outbound dials its server with: read in adapter/outbound, since no adapter tells it. (Plain
// proxies of UDP send that beside their TCP.)
func transport(option any) string {
	switch o := option.(type) {
	case *outbound.Hysteria2Option, *outbound.TuicOption, *outbound.WireGuardOption, *outbound.ShadowQuicOption:
		return "udp"
	case *outbound.HysteriaOption:
		return udpUnless(o.ObfsProtocol == "faketcp" || o.ObfsProtocol == "" && o.Protocol == "faketcp")
	case *outbound.MasqueOption:
		return udpUnless(o.Network == "h2")
	case *outbound.OpenVPNOption:
		return udpUnless(strings.HasPrefix(strings.ToLower(strings.TrimSpace(o.Proto)), "tcp"))
	case *outbound.MieruOption:
		return udpUnless(o.Transport != "UDP")
	case *outbound.TrustTunnelOption:
		return udpUnless(!o.Quic)
	case *outbound.ShadowSocksOption:
		return udpUnless(o.Plugin != "kcptun")
	case *outbound.VmessOption:
		return udpUnless(o.Network != "kcp" && o.Network != "mkcp")
	case *outbound.VlessOption:
		return udpUnless(o.Network != "xhttp" || !h3(o.ALPN))
	}
	return "tcp"
}

func udpUnless(tcp bool) string {
	if tcp {
		return "tcp"
	}
	return "udp"
}

func h3(alpn []string) bool {
	return len(alpn) == 1 && alpn[0] == "h3"
}
