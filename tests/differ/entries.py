"""Entries of `proxies:` as people write them, and as nobody should.

A map is a list of pairs, since keys may repeat; Raw is text that stands in the file as it is.
"""
import json

UUID = "1386f85e-657b-4d6e-9d56-78badb75e1fd"
KEY = "eCtXsJZ27+4PbhDkHnB923tkUn2Gj59wZw5wFA75MnU="
# Throw-away keys: Mihomo checks that they are some.
EC_PUBLIC = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPoRVJJSZeCQfaILKI7WZDv+P6E2HXGcet7RJC6XV8IovGu8BERh6wNdQELa7V5Om"
    "44szw6q164uHlmsF2Mv5rg==")
EC_PRIVATE = (
    "MHcCAQEEIIpynOIhi7Az45GSeTPAUsGhuAk7r8vvmng3NmUUrizfoAoGCCqGSM49AwEHoUQDQgAEPoRVJJSZeCQfaILKI7WZDv+P"
    "6E2HXGcet7RJC6XV8IovGu8BERh6wNdQELa7V5Om44szw6q164uHlmsF2Mv5rg==")
CA = """-----BEGIN CERTIFICATE-----
%s
-----END CERTIFICATE-----
""" % (
    "MIIBbzCCARWgAwIBAgIUI2SFPQIQAApABFoV0vnGSEW4zAMwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBdDAgFw0yNjExMjUyMjI1"
    "NDNaGA8yMTI2MTEwMTIyMjU0M1owDDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABD6EVSSUmXgkH2iCyiO1"
    "mQ7/j+hNh1xnHre0SQul1fCKLxrvAREYesDXUBC2u1eTpuOLM8OqteuLh5ZrBdjL+a6jUzBRMB0GA1UdDgQWBBScOoeMnoGh6vfv"
    "1/YrnTP1Wod8XjAfBgNVHSMEGDAWgBScOoeMnoGh6vfv1/YrnTP1Wod8XjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gA"
    "MEUCIHxCMg9DIHgLVPxZ4zVo1mjR36GHJl6SZl1l2PP5izFFAiEAwDK4M4/xhgtWgUWldCXKHpt3XGt26sXfy4YWqfJxPXY=")


class Raw(str):
    """A scalar as it stands in the file."""


# What each type needs besides name, type, server and port, so that Mihomo accepts it.
TYPES = {
    "ss": [("cipher", "aes-128-gcm"), ("password", "pw")],
    "ssr": [("cipher", "aes-128-cfb"), ("password", "pw"), ("obfs", "plain"), ("protocol", "origin")],
    "socks5": [],
    "http": [],
    "vmess": [("uuid", UUID), ("alterId", Raw("0")), ("cipher", "auto")],
    "vless": [("uuid", UUID)],
    "snell": [("psk", "pw")],
    "trojan": [("password", "pw")],
    "hysteria": [("up", "10 Mbps"), ("down", "10 Mbps")],
    "hysteria2": [("password", "pw")],
    "wireguard": [("private-key", KEY), ("public-key", KEY), ("ip", "172.16.0.2")],
    "tuic": [("uuid", UUID), ("password", "pw")],
    "ssh": [("username", "u"), ("password", "pw")],
    "mieru": [("transport", "TCP"), ("username", "u"), ("password", "pw")],
    "anytls": [("password", "pw")],
    "sudoku": [("key", "pw")],
    "trusttunnel": [("username", "u"), ("password", "pw")],
    "shadowquic": [("username", "u"), ("password", "pw")],
    "gost-relay": [],
    "openvpn": [("ca", Raw(json.dumps(CA))), ("username", "u"), ("password", "pw")],
    "masque": [("private-key", EC_PRIVATE), ("public-key", EC_PUBLIC), ("ip", "172.16.0.2")],
    "tailscale": [("control-url", "https://control.example.net")],
    "zerotier": [("network", "8056c2e21c000001")],
    "direct": [],
    "reject": [],
    "dns": [],
    "rematch": [("target-rematch-name", "x")],
}
WITHOUT_SERVER = ("direct", "reject", "dns", "rematch", "tailscale", "zerotier")


def words(text, *more):
    """Words, and texts that have blanks or nothing in them."""
    return text.split() + list(more)


NAMES = words("n%d.example.net N%d.Example.COM n%d.example.net. a-b_c%d.example xn--bcher-kva%d.example x%d")
ODD_HOSTS = words('''
    [2001:db8::7] 2001:db8::1%eth0 fe80::1%25eth0 ::ffff:203.0.113.9 [::ffff:203.0.113.9] 2001:db8:0:0:0:0:0:1
    2001:DB8::A 127.1 010.1.1.1 1.2.3.4.5 0x7f.1 12345 1.5 1e3 true yes null ~ 2001-01-01 bücher.example 日本.example
    a..b .example *.example https://n1.example.net n1.example.net:443 u@n1.example.net n1.example.net/x -x.example
    a.example#b a'b.example a"b.example a\\b.example 0 :: 1::2::3 2001:db8::g 1.2.3 256.1.1.1 1.2.3.4/32 {a} << = .
    a,b.example _ 0x1F 1_000 .inf -1 %65.example a%b.example n1.example.net,n2.example.net''',
    "", " ", "a b.example", "1.2.3.4 ", " 1.2.3.4", "a\tb", "a" * 64 + ".example", "é" * 60 + ".example")
ODD_PORTS = [Raw(p) for p in words('''
    0443 0x1bb 0b111 0o17 1e3 443.9 4_43 +443 -1 70000 65535 65536 0 ~ null true 1:30 .inf .nan 443,444 [443]
    99999999999999999999 2001-01-01 0x 00 -0 0.0 1e400 0x1BB 0X1bb 0B1 0O7 089 1_0_0 _1 1_ 0_443 443. .5e3 1E+2 ~443''',
    "", "{a: 1}", "!!str 443", "!!int 443", '!!int "443"', "!!float 443", "! 443", "!x 443", "443 # c")] + words(
    "0443 0x1bb x 4_43 0_443 +443 -443 443.0 1e3 ٤٤٣ 0o17 0b11 00 65536 443-445", "", " 443", "443 ", "443\n")
PORTS = words("443-445 443-8443/9000 1000-2000,3000 443 1,2,3 x a-b 443- -443 70000 1-70000", "", " 443 - 445 ",
              Raw("443"), Raw("~"), Raw("0443"), Raw("[1,2]"), Raw("2001-01-01"))
RANGES = words("1000-1002 2090-2099 5-1 x 443 1-70000", Raw("12"))
URLS = words('''
    https://c.example http://c.example:8080/x https://[2001:db8::5]:8443 https://u:p@c.example/ c.example https://
    https://C.example:0443 ftp://c.example https://c.example: https://c.example:x https://203.0.113.5 https:///x
    https://c.example?x https://c.example#x HTTPS://c.example https://bücher.example https://c.example:70000
    https://%63.example''', "", "https://a b.example", " https://c.example")
STUN = words('''
    s.example:3478 203.0.113.8:3478 [2001:db8::8]:19302 s.example 2001:db8::8 [2001:db8::8] :1 s.example: s.example:x
    s.example:70000 stun:s.example:3478 s.example:03478''', "", Raw("~"))
RELAYS = words("r.example:443 203.0.113.6:443 [2001:db8::6]:443 r.example r.example: :443 r.example:x r.example:70000",
               "")
ALPN = [["h3"], ["h2"], ["h3", "h2"], ["H3"], [], Raw("h3"), Raw("~"), Raw("[~]")]
SWITCHES = [Raw(s) for s in words("true true true false yes 1 0 True on")] + ["true"]
ODD_NAMES = words("n1 😀 #c '", "", "a: b", "- x", "a\nb", Raw("12"), Raw("~"))
ODD_TYPES = words("SS pass reject-drop block socks selector Vmess wg", " ss")
ODD_VALUES = [Raw(v) for v in words("~ [] {} true 1.5 2001-01-01", "", "!!binary MS4yLjMuNA==")] + ["x"]


def v4(r):
    return ".".join([r.choice(("203", "198", "1", "10", "192"))] + [str(r.randrange(256)) for _ in range(3)])


def v6(r):
    form = r.choice(("2001:db8::%x", "2001:db8:%x::1", "::%x", "2001:0db8::%04x", "fd00::%x:1"))
    return form % r.randrange(1, 65536)


def name(r):
    return r.choice(NAMES).replace("%d", str(r.randrange(1000)))


def host(r):
    n = r.random()
    if n < 0.35:
        return v4(r)
    if n < 0.7:
        return name(r)
    return v6(r) if n < 0.85 else r.choice(ODD_HOSTS)


def port(r):
    if r.random() < 0.75:
        n = str(r.randrange(1, 65536))
        return n if r.random() < 0.3 else Raw(n)
    return r.choice(ODD_PORTS)


def maybe(r, chance, *pairs):
    return list(pairs) if r.random() < chance else []


def hysteria(r):
    pairs = [(k, r.choice(("udp", "faketcp", "FakeTCP", "wechat-video", ""))) for k in ("protocol", "obfs-protocol")]
    return maybe(r, 0.3, ("ports", r.choice(PORTS))) + maybe(r, 0.2, pairs[0]) + maybe(r, 0.1, pairs[1])


def hysteria2(r):
    return hysteria(r) + maybe(r, 0.3, ("realm-opts", realm(r)))


def realm(r):
    stun = [r.choice(STUN) for _ in range(r.randrange(1, 4))]
    return (maybe(r, 0.9, ("enable", r.choice(SWITCHES))) + [("server-url", r.choice(URLS))] +
            maybe(r, 0.6, ("stun-servers", stun)))


def tuic(r):
    return maybe(r, 0.4, ("ip", r.choice((host(r), v4(r), v6(r), Raw("~"), ""))))


def wireguard(r):
    peers = [[("server", host(r)), ("port", port(r)), ("public-key", KEY), ("allowed-ips", ["0.0.0.0/0"])]
             for _ in range(r.randrange(3))]
    return maybe(r, 0.4, ("peers", peers)) + maybe(r, 0.05, ("peers", Raw("~")))


def vless(r):
    down = maybe(r, 0.7, ("server", host(r))) + maybe(r, 0.6, ("port", port(r))) + maybe(r, 0.3, ("path", "/d"))
    down += maybe(r, 0.2, ("alpn", r.choice(ALPN)))
    opts = [("path", "/")] + maybe(r, 0.8, ("download-settings", down if down or r.random() < 0.5 else Raw("~")))
    alpn = maybe(r, 0.2, ("alpn", r.choice(ALPN)))
    return alpn + maybe(r, 0.4, ("network", r.choice(("xhttp", "xhttp", "ws", "XHTTP"))), ("xhttp-opts", opts))


def other(r):
    return maybe(r, 0.1, ("ws-opts", [("path", "/"), ("headers", [("Host", "h.example")])]), ("network", "ws"))


EXTRAS = {
    "hysteria": hysteria,
    "hysteria2": hysteria2,
    "tuic": tuic,
    "wireguard": wireguard,
    "vless": vless,
    "mieru": lambda r: maybe(r, 0.3, ("port-range", r.choice(RANGES))),
    "openvpn": lambda r: maybe(r, 0.5, ("proto", r.choice(("tcp", "udp", "TCP-client", " tcp4", "udp4", "tcp6")))),
    "masque": lambda r: maybe(r, 0.5, ("network", r.choice(("h2", "h3", "H2", "h3-l4proxy", "")))),
    "vmess": lambda r: maybe(r, 0.3, ("network", r.choice(("kcp", "mkcp", "ws", "KCP", "mekya", "grpc")))),
    "ss": lambda r: maybe(r, 0.2, ("plugin", r.choice(("kcptun", "obfs", "v2ray-plugin")))),
    "trusttunnel": lambda r: maybe(r, 0.4, ("quic", r.choice(SWITCHES))),
    "zerotier": lambda r: maybe(r, 0.5, ("tcp-fallback-relay", r.choice(RELAYS))) + maybe(
        r, 0.3, ("tcp-fallback-mode", r.choice(("auto", "force", "disable", "x")))),
    "tailscale": lambda r: maybe(r, 0.5, ("control-url", r.choice(URLS))),
}


def entry(r, n):
    kind = r.choice(list(TYPES))
    pairs = [("name", "n%d" % n if r.random() < 0.9 else r.choice(ODD_NAMES)), ("type", kind)]
    if kind not in WITHOUT_SERVER or r.random() < 0.2:
        pairs += [("server", host(r)), ("port", port(r))]
    more = EXTRAS.get(kind, other)(r)
    given = {k for k, _ in more}
    pairs += [p for p in TYPES[kind] if p[0] not in given] + more
    pairs += maybe(r, 0.1, ("dialer-proxy", r.choice(("p", "p q", "", Raw("~"), Raw("12"), Raw("true"), "ü"))))
    pairs = [(keyed(r, k), v) for k, v in pairs]
    if r.random() < 0.1:
        spoil(r, pairs)
    if r.random() < 0.3:
        r.shuffle(pairs)
    return pairs


def keyed(r, key):
    n = r.random()
    if n < 0.94 or key in ("name", "type") and n < 0.99:
        return key
    return r.choice((key.upper(), key.title(), key.replace("-", "_"), key.replace("s", "ſ"), key + " "))


def spoil(r, pairs):
    at = r.randrange(len(pairs))
    key, value = pairs[at]
    how = r.randrange(6)
    if how == 0:
        del pairs[at]
    elif how == 1:
        pairs.append(r.choice(pairs))
    elif how == 2:
        pairs[at] = (key, r.choice(ODD_VALUES))
    elif how == 3:
        odd = [("Server", host(r)), ("SERVER", host(r)), ("Port", port(r)), ("server_", host(r))]
        pairs.insert(0, r.choice(odd + [(Raw("1"), "x"), (Raw("~"), "x")]))
    elif how == 4:
        pairs[at] = (key, [value])
    else:
        pairs.append(("type", r.choice(ODD_TYPES)))
