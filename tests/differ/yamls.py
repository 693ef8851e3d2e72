"""Providers' files in YAML, as people and their tools write them, and as nobody should.

A map is a list of pairs, since keys may repeat; Raw is text that stands in the file as it is.
"""
import base64
import json

KEY = "eCtXsJZ27+4PbhDkHnB923tkUn2Gj59wZw5wFA75MnU="
# Throw-away keys: Mihomo checks that they are some.
EC_PUBLIC = ("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPoRVJJSZeCQfaILKI7WZDv+P6E2HXGcet7RJC6XV8IovGu8BERh6wNdQELa7V5Om44szw6q1"
    "64uHlmsF2Mv5rg==")
EC_PRIVATE = ("MHcCAQEEIIpynOIhi7Az45GSeTPAUsGhuAk7r8vvmng3NmUUrizfoAoGCCqGSM49AwEHoUQDQgAEPoRVJJSZeCQfaILKI7WZDv+P6E2HXGcet7RJ"
    "C6XV8IovGu8BERh6wNdQELa7V5Om44szw6q164uHlmsF2Mv5rg==")
CA = """-----BEGIN CERTIFICATE-----
%s
-----END CERTIFICATE-----
""" % (
    "MIIBbzCCARWgAwIBAgIUI2SFPQIQAApABFoV0vnGSEW4zAMwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBdDAgFw0yNjExMjUyMjI1NDNaGA8y"
    "MTI2MTEwMTIyMjU0M1owDDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABD6EVSSUmXgkH2iCyiO1mQ7/j+hNh1xnHre0"
    "SQul1fCKLxrvAREYesDXUBC2u1eTpuOLM8OqteuLh5ZrBdjL+a6jUzBRMB0GA1UdDgQWBBScOoeMnoGh6vfv1/YrnTP1Wod8XjAfBgNVHSME"
    "GDAWgBScOoeMnoGh6vfv1/YrnTP1Wod8XjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIHxCMg9DIHgLVPxZ4zVo1mjR36GH"
    "Jl6SZl1l2PP5izFFAiEAwDK4M4/xhgtWgUWldCXKHpt3XGt26sXfy4YWqfJxPXY=")
UUID = "1386f85e-657b-4d6e-9d56-78badb75e1fd"


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

NAMES = ["n%d.example.net", "N%d.Example.COM", "n%d.example.net.", "a-b_c%d.example", "xn--bcher-kva%d.example", "x%d"]
ODD_HOSTS = [
    "", " ", "[2001:db8::7]", "2001:db8::1%eth0", "fe80::1%25eth0", "::ffff:203.0.113.9", "[::ffff:203.0.113.9]",
    "2001:db8:0:0:0:0:0:1", "2001:DB8::A", "127.1", "010.1.1.1", "1.2.3.4.5", "0x7f.1", "12345", "1.5", "1e3", "true",
    "yes", "null", "~", "2001-01-01", "bücher.example", "日本.example", "a b.example", "a..b", ".example", "*.example",
    "ex ample", "https://n1.example.net", "n1.example.net:443", "u@n1.example.net", "n1.example.net/x", "-x.example",
    "a" * 64 + ".example", "a.example#b", "a'b.example", 'a"b.example', "a\\b.example", "1.2.3.4 ", " 1.2.3.4", "0",
    "::", "1::2::3", "2001:db8::g", "1.2.3", "256.1.1.1", "1.2.3.4/32", "{a}", "<<", "a,b.example", "=", ".", "_", "0x1F",
    "1_000", ".inf", "-1", "a\tb", "é" * 60 + ".example", "%65.example", "a%b.example", "n1.example.net,n2.example.net",
]
ODD_PORTS = [
    Raw("0443"), Raw("0x1bb"), Raw("0b111"), Raw("0o17"), Raw("1e3"), Raw("443.9"), Raw("4_43"), Raw("+443"), Raw("-1"),
    Raw("70000"), Raw("65535"), Raw("65536"), Raw("0"), Raw("~"), Raw("null"), Raw(""), Raw("true"), Raw("1:30"),
    Raw(".inf"), Raw(".nan"), Raw("443,444"), Raw("[443]"), Raw("{a: 1}"), Raw("9" * 20), Raw("2001-01-01"), Raw("0x"),
    Raw("00"), Raw("-0"), Raw("0.0"), Raw("1e400"), Raw("!!str 443"), Raw("!!int 443"), Raw('!!int "443"'),
    Raw("!!float 443"), Raw("! 443"), Raw("!x 443"), Raw("443 # c"), Raw("0x1BB"), Raw("0X1bb"), Raw("0B1"), Raw("0O7"),
    Raw("089"), Raw("1_0_0"), Raw("_1"), Raw("1_"), Raw("0_443"), Raw("443."), Raw(".5e3"), Raw("1E+2"), Raw("~443"),
    "0443", "0x1bb", " 443", "443 ", "", "x", "4_43", "0_443", "+443", "-443", "443.0", "1e3", "٤٤٣", "0o17", "0b11", "00",
    "65536", "443-445", "443\n",
]


def v4(r):
    return "%s.%d.%d.%d" % (r.choice(("203", "198", "1", "10", "192")), r.randrange(256), r.randrange(256), r.randrange(256))


def v6(r):
    return r.choice(("2001:db8::%x", "2001:db8:%x::1", "::%x", "2001:0db8::%04x", "fd00::%x:1")) % r.randrange(1, 65536)


def host(r):
    n = r.random()
    if n < 0.35:
        return v4(r)
    if n < 0.7:
        return r.choice(NAMES).replace("%d", str(r.randrange(1000)))
    return v6(r) if n < 0.85 else r.choice(ODD_HOSTS)


def port(r):
    if r.random() < 0.75:
        n = str(r.randrange(1, 65536))
        return n if r.random() < 0.3 else Raw(n)
    return r.choice(ODD_PORTS)


def maybe(r, chance, *pairs):
    return list(pairs) if r.random() < chance else []


def ports(r):
    return r.choice(("443-445", "443-8443/9000", "1000-2000,3000", "443", Raw("443"), "", Raw("~"), "1,2,3", "x", "a-b",
                     " 443 - 445 ", "443-", "-443", "70000", "1-70000", Raw("0443"), Raw("[1,2]")))


def extras(r, kind):
    if kind in ("hysteria", "hysteria2"):
        pairs = maybe(r, 0.3, ("ports", ports(r))) + maybe(r, 0.1, ("protocol", r.choice(("udp", "faketcp", "FakeTCP", "x"))))
        return pairs + (maybe(r, 0.3, ("realm-opts", realm(r))) if kind == "hysteria2" else [])
    if kind == "tuic":
        return maybe(r, 0.4, ("ip", r.choice((host(r), v4(r), v6(r), Raw("~"), ""))))
    if kind == "wireguard":
        return maybe(r, 0.4, ("peers", [peer(r) for _ in range(r.randrange(3))])) + maybe(r, 0.05, ("peers", Raw("~")))
    if kind == "vless":
        return maybe(r, 0.4, ("network", r.choice(("xhttp", "xhttp", "ws", "XHTTP"))), ("xhttp-opts", xhttp(r)))
    if kind == "mieru":
        return maybe(r, 0.3, ("port-range", r.choice(("1000-1002", "2090-2099", "5-1", "x", "443", "1-70000", Raw("12")))))
    if kind == "openvpn":
        return maybe(r, 0.5, ("proto", r.choice(("tcp", "udp", "tcp-client"))))
    if kind == "tailscale":
        return maybe(r, 0.5, ("control-url", r.choice(URLS)))
    return maybe(r, 0.1, ("ws-opts", [("path", "/"), ("headers", [("Host", "h.example")])]), ("network", "ws"))


URLS = ["https://c.example", "http://c.example:8080/x", "https://[2001:db8::5]:8443", "https://u:p@c.example/", "c.example",
        "", "https://", "https://C.example:0443", "ftp://c.example", "https://c.example:", "https://c.example:x",
        "https://203.0.113.5", "https://c.example?x", "https://c.example#x", "HTTPS://c.example", "https://bücher.example",
        "https://a b.example", "https://c.example:70000", " https://c.example", "https://%63.example", "https:///x"]


def realm(r):
    stun = ["s.example:3478", "203.0.113.8:3478", "[2001:db8::8]:19302", "s.example", "2001:db8::8", "[2001:db8::8]", ":1",
            "s.example:", "s.example:x", "s.example:70000", "stun:s.example:3478", "s.example:03478", Raw("~"), ""]
    return (maybe(r, 0.9, ("enable", r.choice((Raw("true"), Raw("true"), Raw("false"), Raw("yes"), Raw("1"), Raw("0"), "true", Raw("True"), Raw("on"))))) +
            [("server-url", r.choice(URLS))] +
            maybe(r, 0.6, ("stun-servers", [r.choice(stun) for _ in range(r.randrange(1, 4))])))


def peer(r):
    return [("server", host(r)), ("port", port(r)), ("public-key", KEY), ("allowed-ips", ["0.0.0.0/0"])]


def xhttp(r):
    down = maybe(r, 0.7, ("server", host(r))) + maybe(r, 0.6, ("port", port(r))) + maybe(r, 0.3, ("path", "/d"))
    return [("path", "/")] + maybe(r, 0.8, ("download-settings", down if down or r.random() < 0.5 else Raw("~")))


def entry(r, n):
    kind = r.choice(list(TYPES))
    name = "n%d" % n if r.random() < 0.9 else r.choice(("n1", "", Raw("12"), Raw("~"), "a: b", "😀", "- x", "#c", "'", "a\nb"))
    pairs = [("name", name), ("type", kind)]
    if kind not in ("direct", "reject", "dns", "rematch", "tailscale", "zerotier") or r.random() < 0.2:
        pairs += [("server", host(r)), ("port", port(r))]
    more = extras(r, kind)
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
    return r.choice((key.upper(), key.title(), key.replace("-", "_"), key.capitalize(), key.replace("s", "ſ"), key + " "))


def spoil(r, pairs):
    at = r.randrange(len(pairs))
    how = r.randrange(6)
    if how == 0:
        del pairs[at]
    elif how == 1:
        pairs.append(r.choice(pairs))
    elif how == 2:
        pairs[at] = (pairs[at][0], r.choice((Raw("~"), Raw(""), Raw("[]"), Raw("{}"), Raw("true"), "x", Raw("1.5"), Raw("!!binary MS4yLjMuNA=="), Raw("2001-01-01"))))
    elif how == 3:
        pairs.insert(0, r.choice((("Server", host(r)), ("SERVER", host(r)), ("Port", port(r)), ("server_", host(r)), (Raw("1"), "x"), (Raw("~"), "x"))))
    elif how == 4:
        pairs[at] = (pairs[at][0], [pairs[at][1]])
    else:
        pairs.append(("type", r.choice(("SS", "pass", "reject-drop", "block", "socks", "selector", "Vmess", "wg", " ss"))))


# ---- writing ----

class Writer:
    """Writes one document, with a taste of its own for styles."""

    def __init__(self, r):
        self.r = r
        self.style = r.choice(("block", "block", "flow", "json", "mixed"))
        self.odd = r.random() < 0.25 and self.style != "json"
        self.anchors = []
        self.step = r.choice((2, 2, 4, 1, 3))

    def scalar(self, value, flow, key=False):
        r = self.r
        if isinstance(value, Raw):
            return value
        if self.style == "json":
            return json_text(r, value, self.odd)
        plain = value and all(c.isalnum() and ord(c) < 128 or c in "-_./+" or (c == ":" and not flow and not key) for c in value) \
            and value[0] not in "-:?~." and value[-1] != ":"
        if plain and r.random() < 0.75:
            return value
        n = r.random()
        if n < 0.45:
            return "'" + value.replace("'", "''").replace("\n", "\n\n      ") + "'"
        if n < 0.52 and not key and self.odd:
            return r.choice(("!!str ", "! ", "!!binary ", "!x ")) + json_text(r, value, False)
        if n < 0.55 and not flow and not key and value.strip() == value and value and "\n" not in value and "\t" not in value:
            return r.choice(("|-", ">-", "|", ">", "|+", "|2-", "|- # c")) + "\n" + " " * 12 + value
        if n < 0.6 and not any(c in value for c in "'\"#:,[]{}&*!|>%@`\n\t") and value.strip() == value and value and value[0] not in "-?":
            return value
        return json_text(r, value, self.odd)

    def node(self, value, indent, flow):
        """The text behind `key:` or `-`, with what must stand before it."""
        r = self.r
        if self.odd and self.anchors and r.random() < 0.06:
            return " *" + r.choice(self.anchors) + (" " if flow else "")
        mark = ""
        if self.odd and r.random() < 0.1:
            name = "a%d" % len(self.anchors)
            self.anchors.append(name)
            mark = " &" + name
        if not isinstance(value, list):
            return mark + " " + self.scalar(value, flow)
        pairs = value and isinstance(value[0], tuple)
        if flow or self.style in ("flow", "json") and indent > 0 or not value or self.style == "mixed" and r.random() < 0.5:
            return mark + " " + (self.flow_map(value) if pairs else self.flow_list(value))
        return mark + "\n" + (self.block_map(value, indent) if pairs else self.block_list(value, indent))

    def flow_map(self, pairs):
        r = self.r
        sep = r.choice((", ", ",", ", ", ",\n          " if self.style == "flow" else ", "))
        colon = ":" if self.style != "json" or r.random() < 0.7 else " :"
        return "{" + sep.join(self.scalar(k, True, True) + colon + self.node(v, 9, True) for k, v in pairs) + r.choice(("}", "}", " }", ",}" if self.odd else "}"))

    def flow_list(self, items):
        return "[" + ", ".join(self.node(i, 9, True).strip() for i in items) + "]"

    def block_map(self, pairs, indent):
        pad = " " * indent
        lines = []
        for k, v in pairs:
            key = self.scalar(k, False, True)
            if self.odd and self.r.random() < 0.02:
                lines.append(pad + "? " + key + "\n" + pad + ":" + self.node(v, indent + self.step, False))
            else:
                lines.append(pad + key + ":" + self.node(v, indent + self.step, False))
        if self.odd and self.r.random() < 0.15:
            lines.insert(self.r.randrange(len(lines) + 1), self.r.choice(("# c", pad + "# c: d", "", pad + "#")))
        return "\n".join(lines)

    def block_list(self, items, indent):
        pad = " " * indent
        out = []
        for i in items:
            text = self.node(i, indent + 2, False)
            if text.startswith("\n") and self.r.random() < 0.9:  # "- key: value"
                text = " " + text[1:].lstrip(" ")
            out.append(pad + "-" + text)
        return "\n".join(out)


def json_text(r, value, odd):
    out = ""
    for c in value:
        if c in '"\\':
            out += "\\" + c
        elif c < " ":
            out += {"\n": "\\n", "\t": "\\t"}.get(c, "\\u%04x" % ord(c))
        elif odd and r.random() < 0.03:
            out += r.choice(("\\u%04x" % ord(c) if ord(c) < 0x10000 else c, "\\x%02x" % ord(c) if ord(c) < 256 else c, "\\/" if c == "/" else c))
        else:
            out += c
    return '"' + out + '"'


def merged(r, entries):
    """Moves some pairs into maps that are merged, and gives those maps."""
    bases = []
    for pairs in entries:
        if len(pairs) < 4 or r.random() < 0.5:
            continue
        cut = r.randrange(1, len(pairs))
        name = "m%d" % len(bases)
        bases.append((name, pairs[cut:]))
        keep = pairs[:cut]
        if r.random() < 0.3:
            keep += r.sample(pairs[cut:], 1)
        names = [name] + ([r.choice(bases)[0]] if r.random() < 0.4 else [])
        r.shuffle(names)
        inline = r.choice(("*%s ", "[*%s ]", "[*%s ]")) % " , *".join(names) if len(names) == 1 else "[%s ]" % ", ".join("*%s " % n for n in names)
        keep.insert(r.randrange(len(keep) + 1), (Raw(r.choice(("<<", "<<", "<<", '"<<"', "!!merge <<"))), Raw(inline)))
        pairs[:] = keep
    return bases


def document(r):
    entries = [entry(r, n) for n in range(r.choice((1, 1, 2, 3, 6)))]
    w = Writer(r)
    text = ""
    if w.style != "json" and r.random() < 0.12:
        for name, pairs in merged(r, entries):
            text += "x-%s: &%s %s\n" % (name, name, w.flow_map(pairs))
    key = r.choice(("proxies", ) * 20 + ("Proxy", "Proxies", '"proxies"', "proxies ", "proxy"))
    if w.style == "json":
        text = r.choice(("", "// c\n" if w.odd else "")) + "{" + '"%s":' % key.strip('"') + w.node(entries, 0, True) + "}"
    else:
        text += key + ":" + w.node(entries, r.choice((0, 2, 2, w.step)) if w.style != "flow" else 0, False) + "\n"
    if r.random() < 0.1:
        text = r.choice(("port: 7890\n", "mode: rule\nrules: []\n", "--- \n", "---\n", "%YAML 1.1\n---\n", "%YAML 1.2\n---\n", "\n\n", "# c\n", "a: &a [*a]\n", "proxies: ~\n")) + text
    if r.random() < 0.08:
        text += r.choice(("---\nproxies: []\n", "...\n", "...\ngarbage: [\n", "rules: [MATCH,DIRECT]\n", "proxies: []\n", "---\n- x\n", "\t\n", "x", "\0"))
    return text


def encode(r, text):
    n = r.random()
    if n < 0.85:
        return text.encode()
    return r.choice((lambda: b"\xef\xbb\xbf" + text.encode(), lambda: b"\xff\xfe" + text.encode("utf-16-le"),
                     lambda: b"\xfe\xff" + text.encode("utf-16-be"), lambda: text.replace("\n", "\r\n").encode(),
                     lambda: text.replace("\n", "\r").encode(), lambda: text.encode("utf-16-le"),
                     lambda: base64.b64encode(text.encode()), lambda: text.replace("  ", "\t", 1).encode(),
                     lambda: text.replace("\n", "\u2028", 1).encode(), lambda: text.replace("\n", "\x85").encode()))()


def make(r):
    return encode(r, document(r))
