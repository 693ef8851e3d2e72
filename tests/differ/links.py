"""Share links of every scheme, and what people wrap lists of them in."""
import base64
import json

import yamls

UUID = yamls.UUID


def b64(r, text, odd=0.15):
    raw = text if isinstance(text, bytes) else text.encode()
    out = base64.b64encode(raw).decode()
    if r.random() < 0.4:
        out = out.rstrip("=")
    if r.random() < odd:
        out = r.choice((lambda: out.replace("+", "-").replace("/", "_"), lambda: out.rstrip("=").replace("+", "-").replace("/", "_"),
                        lambda: out + "=", lambda: out[:-1], lambda: out[:4] + "\r\n" + out[4:], lambda: out[:5] + " " + out[5:],
                        lambda: out.replace("=", "%3D"), lambda: out + "==", lambda: out + "\n"))()
    return out


def host(r):
    n = r.random()
    if n < 0.4:
        return yamls.v4(r)
    if n < 0.7:
        return r.choice(yamls.NAMES).replace("%d", str(r.randrange(1000)))
    if n < 0.92:
        return "[" + yamls.v6(r) + "]"
    return r.choice(["", "[2001:db8::1%25eth0]", "[2001:db8::1%eth0]", "2001:db8::1", "%62.example", "b%c3%bccher.example", "bücher.example",
                     "a b.example", "a_b.example", "[::ffff:203.0.113.9]", "[1.2.3.4]", "[n1.example.net]", "[2001:db8::1", "2001:db8::1]",
                     "n1.example.net,n2.example.net", "a%zz.example", "N1.EXAMPLE", "127.1", "a..b", "a'b", 'a"b', "a<b>", "a\\b", "a|b", "a^b",
                     "a{b}", "a`b", "a;b", "a=b", "a&b", "a!b", "a$b", "a*b", "a(b)", "a~b", "[]", "[::1]x", "a%20b", "a%2eb", "%e4%b8%ad.example", "*.x", "@", "[[::1]]",
                     "[2001:db8::1%25%65th0]", "[%32001:db8::1]", "b%ff.example", "a\x7fb", "a\tb", ":", "x:y"])


def port(r):
    n = r.random()
    if n < 0.86:
        return ":%d" % r.randrange(1, 65536)
    if n < 0.92:
        return ""
    return r.choice((":", ":0443", ":0x1bb", ":70000", ":443x", ":x", ":-1", ":+443", ":4_43", ":443-445", ":443,445-447", ":0", ": 443", ":443:444",
                     ":443/", ":65535", ":65536", ":00", ":٤٤٣", ":99999999999999999999", ":,443", ":-", ":443,", ":08", ":0o17", ":443%20", ":%34%34%33"))


def user(r, plain):
    if r.random() < 0.8:
        return plain
    return r.choice((plain, plain, plain, plain, "u:p", "u%3ap", "p%40w", "p@w", "p#w", "p/w", "p?w", "p w", "%zz", "", ":", "u:", ":p", "ü", "a:b:c", "p%00", "p[w", "p]w", "p;w", "p<w", "p^w", 'p"w', "p%", "!$&'()*+,;=", "a@b@c"))


def fragment(r):
    if r.random() < 0.7:
        return "#n%d" % r.randrange(99)
    return r.choice(("#n", "#n%d" % r.randrange(9), "", "#", "#a b", "#a%20b", "#%zz", "#a#b", "#😀", "#%F0%9F%98%80", "#a: b", "#a:b", "#a?b", "#a/b", "#-", "#a\tb", "# a", "#a%", "#\xa0", "#[x]", "#{x}", "#'x", '#"x'))


def query(r, *known):
    pairs = [p for p in known if r.random() < 0.8]
    pairs += r.sample(["sni=x.example", "insecure=1", "a=%zz", "a;b=c", "security=tls", "type=ws&path=%2F", "type=grpc", "&&", "=", "a=b=c", "alpn=h2,h3", "fp=chrome", "flow=xtls-rprx-vision", "obfs=salamander&obfs-password=x", "mport=1000-2000", "a b=c", "ed=x&type=ws", "type=tcp&headerType=http", "security=reality&pbk=x", "up=10&down=20", "encryption=none"], r.choice((0, 0, 0, 1, 2)))
    slash = "" if r.random() < 0.7 else r.choice(("", "", "/", "/x", "/a%20b", "/a b", "/%zz", "//", "/x:y"))
    return slash + ("?" + "&".join(pairs) if pairs else "")


def url(r, scheme, plain, *known):
    at = user(r, plain) + "@" if r.random() < 0.97 else ""
    return scheme + "://" + at + host(r) + port(r) + query(r, *known) + fragment(r)


def ss(r):
    plain = b64(r, r.choice(("aes-128-gcm:pw", "aes-128-gcm:pw", "aes-128-gcm:p@w", "chacha20-ietf-poly1305:pw", "x:y", "nocolon", "aes-128-gcm:")))
    n = r.random()
    if n < 0.35:
        return url(r, "ss", plain, r.choice(("plugin=obfs-local%3Bobfs%3Dhttp", "plugin=v2ray-plugin;tls", "plugin=x%zz;y", "uot=1")))
    if n < 0.5:
        return url(r, "ss", "aes-128-gcm:pw")
    body = b64(r, user(r, "aes-128-gcm:pw") + "@" + host(r) + port(r) + r.choice(("", "", "?a=b", "#x", "/")), 0.3)
    return "ss://" + body + r.choice(("", "", "/", "?a=b")) + fragment(r)


def ssr(r):
    fields = [r.choice((host(r).strip("[]"), host(r))), port(r).lstrip(":"), "origin", "aes-128-cfb", "plain", b64(r, "pw")]
    if r.random() < 0.1:
        fields.pop(r.randrange(6))
    if r.random() < 0.05:
        fields.insert(0, "x")
    tail = r.choice(("/?", "/?", "/?remarks=" + b64(r, "n"), "/?obfsparam=&protoparam=&remarks=YQ&group=", "/?a=%zz", "/?a;b", "", "?x", "/", "/?x/?y"))
    return "ssr://" + b64(r, ":".join(fields) + tail, 0.5)


def vmess_json(r):
    h = host(r).strip("[]")
    number = port(r).lstrip(":")
    values = [("v", '"2"'), ("ps", json.dumps(r.choice(("n", "", "a: b", "😀")))), ("add", json.dumps(h)),
              ("port", json.dumps(number) if r.random() < 0.6 or not number.isdigit() or number[0] == "0" or not number.isascii() else number),
              ("id", '"%s"' % UUID), ("aid", r.choice(("0", '"0"', "null", '""', "0.0"))), ("net", r.choice(('"tcp"', '"ws"', '"http"', '"h2"', "null", '"WS"'))),
              ("type", '"none"'), ("tls", r.choice(('""', '"tls"', "null", "true")))]
    if r.random() < 0.35:
        at = r.randrange(len(values))
        key, value = values[at]
        values[at] = r.choice(((key, "null"), (key, "12"), (key, "443.0"), (key, "443.9"), (key, "4.43e2"), (key, "1e400"), (key, "-1"), (key, "true"), (key, "[443]"), (key, "{}"),
                               (key.upper(), value), (key.title(), value), (key, '"\\u0031.2.3.4"'), (key, '"a\\/b"'), (key, '"\\ud83d\\ude00"'), (key, '"\\ud83d"'), (key, '"\\x"'),
                               (key, "'x'"), (key, "0443"), (key, "+443"), (key, '" %s"' % UUID), (key, '"a\tb"'), (key, '""'), (key, "NaN"), (key, "443."), (key, ".5"), (key, "1E2"), (key, "12345678901234567890"), (key, '"a\\u0000b"')))
    if r.random() < 0.1:
        values.append(r.choice(values))
    if r.random() < 0.1:
        values.append(r.choice((("add", '"dup.example"'), ("port", "1"), ("ps", '"dup"'), ("ADD", '"up.example"'), ("add", "null"))))
    if r.random() < 0.1:
        values.pop(r.randrange(len(values)))
    text = "{" + r.choice((",", ", ", ",\n")).join('"%s":%s' % v for v in values) + "}"
    if r.random() < 0.12:
        text = r.choice((text + "x", text + "\n", " " + text, "\ufeff" + text, text[:-1], text[:-1] + ",}", "[" + text + "]", text + text, "{}" + text, "null", text.replace(",", ",,", 1), "\x00" + text, text.replace('"', "'"), "// c\n" + text))
    raw = text.encode() if r.random() < 0.95 else text.encode().replace(b"n", b"\xff", 1)
    return "vmess://" + b64(r, raw) + r.choice(("", "", "", "", "#x", "?remarks=a", "/", " "))


def vmess(r):
    n = r.random()
    if n < 0.7:
        return vmess_json(r)
    if n < 0.9:
        return url(r, "vmess", UUID, "type=ws", "security=tls")
    return "vmess://" + b64(r, "auto:%s@%s%s" % (UUID, host(r), port(r))) + "?remarks=a"


def extra(r):
    address = r.choice((yamls.v4(r), "d.example", yamls.v6(r), "", 7, None, "[2001:db8::9]"))
    down = {"address": address, "port": r.choice((443, 443.0, "443", 0, -1, 70000, 1e3, None, 443.7, True)), "security": "tls"}
    for k in list(down):
        if r.random() < 0.15:
            del down[k]
    value = r.choice(({"downloadSettings": down}, {"downloadSettings": down}, {"downloadSettings": down}, {"DownloadSettings": down}, {"xPaddingBytes": "1-2"}, {"downloadSettings": [down]}, {"downloadSettings": None}))
    text = json.dumps(value)
    if r.random() < 0.1:
        text = r.choice((text[:-1], text + "x", "[" + text + "]", " " + text + " ", text.replace("{", '{"a":1,', 1), text.replace('"address"', '"address": "first.example", "address"')))
    out = text.replace("%", "%25").replace('"', "%22").replace("{", "%7B").replace("}", "%7D").replace(" ", "%20").replace("#", "%23").replace("&", "%26")
    return "extra=" + (out if r.random() < 0.9 else text)


def vless(r):
    if r.random() < 0.1:
        return "vless://" + b64(r, "%s@%s%s" % (UUID, host(r), port(r))) + query(r, "security=tls") + fragment(r)
    if r.random() < 0.3:
        return url(r, "vless", UUID, r.choice(("type=xhttp", "type=xhttp", "type=XHTTP")), extra(r), "mode=auto")
    return url(r, "vless", UUID, "security=reality", "pbk=" + yamls.KEY.rstrip("=").replace("+", "-"))


def hysteria2(r):
    scheme = r.choice(("hysteria2", "hy2", "hysteria2+realm", "hy2+realm"))
    ports = r.choice(("", "", ",5000-6000", "-445", ",", "-", ",x", ",1000,2000-2001", ",70000"))
    text = url(r, scheme, "pw", "stun=s.example:3478", "stun=203.0.113.7", "auth=x")
    if ports and r.random() < 0.5:
        text = scheme + "://pw@" + host(r) + port(r) + ports + query(r) + fragment(r)
    return text


def mierus(r):
    pairs = []
    for _ in range(r.randrange(4)):
        pairs += ["port=" + r.choice(("6666", "6666", "9998-9999", "x", "0443", "", "70000", "+5", "-5", "5-", "1-2-3", "0x10")), "protocol=" + r.choice(("TCP", "UDP", "tcp", ""))]
    if pairs and r.random() < 0.15:
        pairs.pop(r.randrange(len(pairs)))
    r.shuffle(pairs)
    return "mierus://" + user(r, "u:p") + "@" + host(r) + r.choice(("", "", port(r))) + "?" + "&".join(["profile=default"] + pairs) + fragment(r)


def simple(r):
    scheme, plain = r.choice((("trojan", "pw"), ("tuic", UUID + ":pw"), ("tuic", "token"), ("hysteria", ""), ("anytls", "pw"), ("socks", b64(r, "u:p")), ("socks5", "u:p"), ("socks5h", "u:p"), ("http", "u:p"), ("https", b64(r, "u:p"))))
    return url(r, scheme, plain, "auth=x", "protocol=udp", "upmbps=10&downmbps=20")


def foreign(r):
    return r.choice((lambda: url(r, r.choice(("snell", "ssh", "wireguard", "wg", "socks4", "trojan-go", "mieru", "naive+https", "hy", "juicity", "ssd", "sub", "clash", "STATUS", "quic", "")), "pw"),
                     lambda: "STATUS=🚀↑:1.2GB,↓:3GB,TOT:100GB💡Expires:2030-01-01", lambda: "REMARKS=x", lambda: "# comment", lambda: "; c", lambda: "://x@1.2.3.4:5", lambda: "x", lambda: "ss:/1.2.3.4:5", lambda: "proxies:", lambda: "https://panel.example/sub?token=x"))()


SCHEMES = (ss, ss, ssr, vmess, vmess, vless, vless, hysteria2, mierus, simple, simple, simple, foreign)


def link(r):
    text = r.choice(SCHEMES)(r)
    n = r.random()
    if n > 0.9:
        scheme, colon, rest = text.partition("://")
        text = r.choice((lambda: scheme.upper() + colon + rest, lambda: scheme.title() + colon + rest, lambda: " " + text, lambda: text + " ", lambda: text + "\t",
                         lambda: "- " + text, lambda: text + "\r", lambda: "\t" + text, lambda: text + "\x00", lambda: scheme + ":" + rest, lambda: text + "|" + text, lambda: text + " " + text))()
    return text


def lines(r):
    sep = r.choice(("\n", "\n", "\n", "\r\n", "\n\n", "\r", " ", "|"))
    return sep.join(link(r) for _ in range(r.choice((1, 1, 2, 3, 8)))) + r.choice(("", "\n", "\r\n", " ", "\n\n"))


def wrapped(r, text):
    raw = text.encode("utf-8", "surrogatepass")
    n = r.random()
    if n < 0.45:
        return raw
    if n < 0.75:
        return b64(r, raw, 0.3).encode()
    return r.choice((
        lambda: b"\xef\xbb\xbf" + raw, lambda: b"\n\n " + raw, lambda: base64.encodebytes(raw), lambda: base64.encodebytes(raw).replace(b"\n", b"\r\n"),
        lambda: base64.b64encode(base64.b64encode(raw)), lambda: b"\xef\xbb\xbf" + base64.b64encode(raw), lambda: b" " + base64.b64encode(raw), lambda: base64.b64encode(raw) + b"\n# c",
        lambda: base64.b64encode(b"\xef\xbb\xbf" + raw), lambda: raw.decode().encode("utf-16"), lambda: raw + b"\n" + base64.b64encode(raw), lambda: base64.urlsafe_b64encode(raw),
        lambda: base64.encodebytes(raw).replace(b"\n", b" "), lambda: raw.replace(b"n", b"\xff", 1), lambda: b"<!DOCTYPE html><html>" + raw, lambda: b"# c\n" + raw,
        lambda: b"proxies:\n" + raw, lambda: b"\x00" + raw, lambda: raw + b"\x00", lambda: b"{\"outbounds\":[{\"server\":\"n1.example.net\"}]}\n" + raw, lambda: b"-----BEGIN AGE ENCRYPTED FILE-----\n" + raw))()


def make(r):
    return wrapped(r, lines(r))
