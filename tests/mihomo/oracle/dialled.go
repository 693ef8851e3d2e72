package main

import (
	"net"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/metacubex/mihomo/adapter/outbound"
	"github.com/metacubex/mihomo/common/structure"
)

type endpoint struct {
	Kind  string `json:"kind"`
	Host  string `json:"host"`
	Port  int    `json:"port"`
	Ports string `json:"ports"`
	Name  string `json:"name"`
	// The proxy through which it is dialled, not from this host.
	Dialer string `json:"dialer-proxy"`
	// "tcp" or "udp".
	Transport string `json:"transport"`
}

// What adapter/parser.go makes of each type.
var options = map[string]func() any{
	"anytls":      func() any { return new(outbound.AnyTLSOption) },
	"direct":      func() any { return new(outbound.DirectOption) },
	"dns":         func() any { return new(outbound.DnsOption) },
	"gost-relay":  func() any { return new(outbound.GostRelayOption) },
	"http":        func() any { return new(outbound.HttpOption) },
	"hysteria":    func() any { return new(outbound.HysteriaOption) },
	"hysteria2":   func() any { return new(outbound.Hysteria2Option) },
	"masque":      func() any { return new(outbound.MasqueOption) },
	"mieru":       func() any { return new(outbound.MieruOption) },
	"openvpn":     func() any { return new(outbound.OpenVPNOption) },
	"reject":      func() any { return new(outbound.RejectOption) },
	"rematch":     func() any { return new(outbound.RematchOption) },
	"shadowquic":  func() any { return new(outbound.ShadowQuicOption) },
	"snell":       func() any { return new(outbound.SnellOption) },
	"socks5":      func() any { return new(outbound.Socks5Option) },
	"ss":          func() any { return new(outbound.ShadowSocksOption) },
	"ssh":         func() any { return new(outbound.SshOption) },
	"ssr":         func() any { return new(outbound.ShadowSocksROption) },
	"sudoku":      func() any { return new(outbound.SudokuOption) },
	"tailscale":   func() any { return new(outbound.TailscaleOption) },
	"trojan":      func() any { return new(outbound.TrojanOption) },
	"trusttunnel": func() any { return new(outbound.TrustTunnelOption) },
	"tuic":        func() any { return new(outbound.TuicOption) },
	"vless":       func() any { return new(outbound.VlessOption) },
	"vmess":       func() any { return new(outbound.VmessOption) },
	"wireguard":   func() any { return new(outbound.WireGuardOption) },
	"zerotier":    func() any { return new(outbound.ZeroTierOption) },
}

// A type that Mihomo does not know: what its reader would make of the usual keys.
type plainOption struct {
	Server string `proxy:"server,omitempty"`
	Port   int    `proxy:"port,omitempty"`
	Ports  string `proxy:"ports,omitempty"`
	outbound.BasicOption
}

// decode as adapter/parser.go does.
func decode(mapping map[string]any, option any) error {
	return structure.NewDecoder(structure.Option{
		TagName: "proxy", WeaklyTypedInput: true, KeyReplacer: structure.DefaultKeyReplacer,
	}).Decode(mapping, option)
}

type found struct {
	dialled   []endpoint
	bracketed []endpoint // not dialled for the brackets around the host, which are taken off here
}

func known(mapping map[string]any) bool {
	kind, _ := mapping["type"].(string)
	return options[kind] != nil
}

// dialled tells what Mihomo dials for an entry, as far as its keys could be decoded.
func dialled(mapping map[string]any) (f found) {
	kind, _ := mapping["type"].(string)
	create := options[strings.ToLower(kind)] // with capitals no adapter takes it, but we do
	if create == nil {
		create = func() any { return new(plainOption) }
	}
	option := create()
	if decode(mapping, option) != nil { // why, accepts() tells
		lists(mapping, option)
	}
	name, _ := mapping["name"].(string)
	dialer := reflect.ValueOf(option).Elem().FieldByName("DialerProxy").String()
	for _, e := range addresses(option) {
		e.Name, e.Dialer = name, dialer
		if e.Transport == "" {
			e.Transport = transport(option)
		}
		host := strings.TrimSuffix(strings.TrimPrefix(e.Host, "["), "]")
		if possible(e) {
			f.dialled = append(f.dialled, e)
		} else if e.Host = host; possible(e) {
			f.bracketed = append(f.bracketed, e)
		}
	}
	return f
}

// lists fills those of which the decoder took nothing for one bad element.
func lists(mapping map[string]any, option any) {
	switch o := option.(type) {
	case *outbound.WireGuardOption:
		var raw struct {
			Peers []any `proxy:"peers,omitempty"`
		}
		_ = decode(mapping, &raw)
		o.Peers = make([]outbound.WireGuardPeerOption, len(raw.Peers))
		for i := range o.Peers {
			var one struct {
				Peer outbound.WireGuardPeerOption `proxy:"peer"`
			}
			_ = decode(map[string]any{"peer": raw.Peers[i]}, &one)
			o.Peers[i] = one.Peer
		}
	case *outbound.Hysteria2Option:
		var raw struct {
			RealmOpts struct {
				Servers []any `proxy:"stun-servers,omitempty"`
			} `proxy:"realm-opts,omitempty"`
		}
		_ = decode(mapping, &raw)
		o.RealmOpts.STUNServers = nil
		for _, server := range raw.RealmOpts.Servers {
			if text, ok := server.(string); ok {
				o.RealmOpts.STUNServers = append(o.RealmOpts.STUNServers, text)
			}
		}
	}
}

func addresses(option any) []endpoint {
	server := plain(option)
	switch o := option.(type) {
	case *outbound.HysteriaOption:
		server.Ports = o.Ports
	case *outbound.Hysteria2Option:
		server.Ports = o.Ports
		if o.RealmOpts.Enable { // then the server is asked of the realm
			return realm(o.RealmOpts)
		}
	case *outbound.TuicOption:
		if o.Ip != "" {
			return []endpoint{{Kind: "ip", Host: o.Ip, Port: o.Port}}
		}
	case *outbound.WireGuardOption:
		if len(o.Peers) > 0 {
			return peers(o.Peers)
		}
	case *outbound.VlessOption:
		if down := o.XHTTPOpts.DownloadSettings; down != nil && o.Network == "xhttp" {
			return append(download(server, down, o.ALPN), server)
		}
	case *outbound.MieruOption:
		server.Ports = o.PortRange
	case *outbound.TailscaleOption: // without one it is the vendor's
		return ofURL("server", o.ControlURL)
	case *outbound.ZeroTierOption: // without one it is the vendor's too
		return relay(o)
	case *plainOption:
		server.Ports = o.Ports
	}
	return []endpoint{server}
}

func random(value any) bool {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			if random(element) {
				return true
			}
		}
	case map[string]any:
		for key, element := range v {
			for other := range v {
				own := strings.ToLower(structure.DefaultKeyReplacer.Replace(key))
				_, exact := v[own]
				if other != key && !exact && strings.EqualFold(own, structure.DefaultKeyReplacer.Replace(other)) {
					return true
				}
			}
			if random(element) {
				return true
			}
		}
	}
	return false
}

// plain reads Server and Port of any option that has them.
func plain(option any) (e endpoint) {
	e.Kind = "server"
	fields := reflect.ValueOf(option).Elem()
	if host := fields.FieldByName("Server"); host.IsValid() {
		e.Host = host.String()
	}
	if port := fields.FieldByName("Port"); port.IsValid() {
		e.Port = int(port.Int())
	}
	return e
}

func peers(list []outbound.WireGuardPeerOption) (endpoints []endpoint) {
	for _, peer := range list {
		endpoints = append(endpoints, endpoint{Kind: "peer", Host: peer.Server, Port: peer.Port})
	}
	return endpoints
}

// download is told only where it differs from the first pair by a key of its own.
func download(server endpoint, down *outbound.XHTTPDownloadSettings, alpn []string) []endpoint {
	if down.Server == nil && down.Port == nil {
		return nil
	}
	if down.ALPN != nil {
		alpn = *down.ALPN
	}
	server.Kind, server.Transport = "download", udpUnless(!h3(alpn))
	if down.Server != nil {
		server.Host = *down.Server
	}
	if down.Port != nil {
		server.Port = *down.Port
	}
	return []endpoint{server}
}

func realm(opts outbound.Hysteria2RealmOption) []endpoint {
	endpoints := ofURL("realm", opts.ServerURL)
	for _, server := range opts.STUNServers {
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			host, port = server, "3478"
		}
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			endpoints = append(endpoints, endpoint{Kind: "stun", Host: host, Port: int(n), Transport: "udp"})
		}
	}
	return endpoints
}

func relay(o *outbound.ZeroTierOption) []endpoint {
	host, port, err := net.SplitHostPort(o.TCPFallbackRelay)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || o.TCPFallbackMode == "disable" {
		return nil
	}
	return []endpoint{{Kind: "server", Host: host, Port: int(n)}}
}

func ofURL(kind, text string) []endpoint {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil
	}
	return []endpoint{{Kind: kind, Host: u.Hostname(), Port: n, Transport: "tcp"}}
}

// possible is false for what no dial comes of: component/dialer splits the two again and asks the system for that port.
func possible(e endpoint) bool {
	_, _, err := net.SplitHostPort(net.JoinHostPort(e.Host, strconv.Itoa(e.Port)))
	return err == nil && e.Host != "" && e.Port >= 0 && e.Port <= 0xffff
}
