"""Share links of every scheme, and what people wrap lists of them in."""
import base64
import json

from entries import KEY, UUID, name, v4, v6, words

ODD_HOSTS = words(r'''
    [2001:db8::1%25eth0] [2001:db8::1%eth0] 2001:db8::1 %62.example b%c3%bccher.example bücher.example a_b.example
    [::ffff:203.0.113.9] [1.2.3.4] [n1.example.net] [2001:db8::1 2001:db8::1] n1.example.net,n2.example.net
    a%zz.example N1.EXAMPLE 127.1 a..b a'b a"b a<b> a|b a^b a{b} a`b a;b a=b a&b a!b a$b a*b a(b) a~b [] [::1]x a\b
    a%20b a%2eb %e4%b8%ad.example *.x @ [[::1]] [2001:db8::1%25%65th0] [%32001:db8::1] b%ff.example : x:y''',
    "", "a b.example", "a\x7fb", "a\tb")
ODD_PORTS = words('''
    : :0443 :0x1bb :70000 :443x :x :-1 :+443 :4_43 :443-445 :443,445-447 :0 :443:444 :443/ :65535 :65536 :00 :٤٤٣
    :99999999999999999999 :,443 :- :443, :08 :0o17 :443%20 :%34%34%33''', ": 443")
ODD_USERS = words('''
    u:p u%3ap p%40w p@w p#w p/w p?w %zz : u: :p ü a:b:c p%00 p[w p]w p;w p<w p^w p"w p%
    !$&'()*+,;= a@b@c''', "p w", "")
PATHS = words("/ /x /a%20b /%zz // /x:y", "", "", "/a b")
QUERIES = words('''
    sni=x.example insecure=1 a=%zz a;b=c security=tls type=ws&path=%2F type=grpc && = a=b=c alpn=h2,h3 fp=chrome
    flow=xtls-rprx-vision obfs=salamander&obfs-password=x mport=1000-2000 ed=x&type=ws type=tcp&headerType=http
    security=reality&pbk=x up=10&down=20 encryption=none type=kcp type=mKCP alpn=h3 security=tls&alpn=h3
    protocol=faketcp protocol=FakeTCP security=TLS&alpn=H3''', "a b=c")
FRAGMENTS = words('''
    #n # #a%20b #%zz #a#b #😀 #%F0%9F%98%80 #a:b #a?b #a/b #- #a% #[x] #{x} #'x #"x''',
    "", "#a b", "#a: b", "#a\tb", "# a", "#\xa0")
CIPHERS = words("aes-128-gcm:pw aes-128-gcm:pw aes-128-gcm:p@w chacha20-ietf-poly1305:pw x:y nocolon aes-128-gcm:")
PLUGINS = words("plugin=obfs-local%3Bobfs%3Dhttp plugin=v2ray-plugin;tls plugin=x%zz;y uot=1")
SSR_TAILS = words("/? /? /?remarks=bg /?obfsparam=&protoparam=&remarks=YQ&group= /?a=%zz /?a;b ?x / /?x/?y", "")
JSON_VALUES = words(r'''
    null 12 443.0 443.9 4.43e2 1e400 -1 true [443] {} "\u0031.2.3.4" "a\/b" "\ud83d\ude00" "\ud83d" "\x" 'x' 0443 +443
    "" NaN 443. .5 1E2 12345678901234567890 "a\u0000b"''', '" x"', '"a\tb"')
DOUBLES = [("add", '"dup.example"'), ("port", "1"), ("ps", '"dup"'), ("ADD", '"up.example"'), ("add", "null")]
MIERU_PORTS = words("6666 6666 9998-9999 x 0443 70000 +5 -5 5- 1-2-3 0x10", "")
FOREIGN = words("snell ssh wireguard wg socks4 trojan-go mieru naive+https hy juicity ssd sub clash STATUS quic", "")
NO_LINKS = words("REMARKS=x ://x@1.2.3.4:5 x ss:/1.2.3.4:5 proxies: https://panel.example/sub?token=x",
                 "# comment", "; c", "STATUS=🚀↑:1.2GB,↓:3GB,TOT:100GB💡Expires:2030-01-01")


def b64(r, text, odd=0.15):
    out = base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()
    if r.random() < 0.4:
        out = out.rstrip("=")
    if r.random() >= odd:
        return out
    other = out.replace("+", "-").replace("/", "_")
    return r.choice((other, other.rstrip("="), out + "=", out + "==", out[:-1], out + "\n", out.replace("=", "%3D"),
                     out[:4] + "\r\n" + out[4:], out[:5] + " " + out[5:]))


def host(r):
    n = r.random()
    if n < 0.4:
        return v4(r)
    if n < 0.7:
        return name(r)
    return "[" + v6(r) + "]" if n < 0.92 else r.choice(ODD_HOSTS)


def port(r):
    n = r.random()
    if n < 0.86:
        return ":%d" % r.randrange(1, 65536)
    return "" if n < 0.92 else r.choice(ODD_PORTS)


def user(r, usual):
    return usual if r.random() < 0.85 else r.choice(ODD_USERS)


def fragment(r):
    return "#n%d" % r.randrange(99) if r.random() < 0.7 else r.choice(FRAGMENTS)


def query(r, *known):
    pairs = [p for p in known if r.random() < 0.8] + r.sample(QUERIES, r.choice((0, 0, 0, 1, 2)))
    path = "" if r.random() < 0.7 else r.choice(PATHS)
    return path + ("?" + "&".join(pairs) if pairs else "")


def url(r, scheme, usual, *known):
    at = user(r, usual) + "@" if r.random() < 0.97 else ""
    return scheme + "://" + at + host(r) + port(r) + query(r, *known) + fragment(r)


def ss(r):
    n = r.random()
    if n < 0.35:
        return url(r, "ss", b64(r, r.choice(CIPHERS)), r.choice(PLUGINS))
    if n < 0.5:
        return url(r, "ss", "aes-128-gcm:pw")
    inner = user(r, "aes-128-gcm:pw") + "@" + host(r) + port(r) + r.choice(("", "", "?a=b", "#x", "/"))
    return "ss://" + b64(r, inner, 0.3) + r.choice(("", "", "/", "?a=b")) + fragment(r)


def ssr(r):
    where = [r.choice((host(r).strip("[]"), host(r))), port(r).lstrip(":")]
    fields = where + ["origin", "aes-128-cfb", "plain", b64(r, "pw")]
    if r.random() < 0.1:
        fields.pop(r.randrange(6))
    if r.random() < 0.05:
        fields.insert(0, "x")
    return "ssr://" + b64(r, ":".join(fields) + r.choice(SSR_TAILS), 0.5)


def vmess_values(r):
    number = port(r).lstrip(":")
    as_number = number.isascii() and number.isdigit() and number[0] != "0" and r.random() < 0.4
    values = [("v", '"2"'), ("ps", r.choice(('"n"', '""', '"a: b"', '"😀"'))),
              ("add", json.dumps(host(r).strip("[]"))), ("port", number if as_number else json.dumps(number)),
              ("id", '"%s"' % UUID), ("aid", r.choice(("0", '"0"', "null", '""', "0.0"))), ("type", '"none"'),
              ("net", r.choice(('"tcp"', '"ws"', '"http"', '"h2"', "null", '"WS"', '"kcp"', '"mKCP"'))),
              ("tls", r.choice(('""', '"tls"', "null", "true")))]
    if r.random() < 0.35:
        at = r.randrange(len(values))
        key, value = values[at]
        values[at] = r.choice([(key.upper(), value), (key.title(), value)] + [(key, v) for v in JSON_VALUES])
    if r.random() < 0.2:
        values.append(r.choice(values + DOUBLES))
    if r.random() < 0.1:
        values.pop(r.randrange(len(values)))
    return values


def vmess_json(r):
    text = "{" + r.choice((",", ", ", ",\n")).join('"%s":%s' % v for v in vmess_values(r)) + "}"
    if r.random() < 0.12:
        text = r.choice((text + "x", text + "\n", " " + text, "\ufeff" + text, text[:-1], text[:-1] + ",}",
                         "[" + text + "]", text + text, "{}" + text, "null", text.replace(",", ",,", 1), "\x00" + text,
                         text.replace('"', "'"), "// c\n" + text))
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
    address = r.choice((v4(r), "d.example", v6(r), "", 7, None, "[2001:db8::9]"))
    number = r.choice((443, 443.0, "443", 0, -1, 70000, 1e3, None, 443.7, True))
    down = {k: v for k, v in (("address", address), ("port", number), ("security", "tls")) if r.random() < 0.85}
    if r.random() < 0.2:
        down["tlsSettings"] = {"alpn": r.choice((["h3"], ["h2", "h3"], [], [1, "h3"], "h3"))}
    key = r.choice(("downloadSettings", ) * 6 + ("DownloadSettings", "xPaddingBytes"))
    text = json.dumps({key: r.choice((down, ) * 8 + ([down], None))})
    if r.random() < 0.1:
        text = r.choice((text[:-1], text + "x", "[" + text + "]", " " + text + " ", text.replace("{", '{"a":1,', 1),
                         text.replace('"address"', '"address": "first.example", "address"')))
    if r.random() < 0.9:
        text = "".join("%%%02X" % ord(c) if c in '%"{} #&' else c for c in text)
    return "extra=" + text


def vless(r):
    n = r.random()
    if n < 0.1:
        return "vless://" + b64(r, "%s@%s%s" % (UUID, host(r), port(r))) + query(r, "security=tls") + fragment(r)
    if n < 0.4:
        return url(r, "vless", UUID, r.choice(("type=xhttp", "type=xhttp", "type=XHTTP")), extra(r), "mode=auto",
                   r.choice(("security=tls&alpn=h3", "alpn=h3", "security=tls")))
    return url(r, "vless", UUID, "security=reality", "pbk=" + KEY.rstrip("=").replace("+", "-"))


def hysteria2(r):
    scheme = r.choice(("hysteria2", "hy2", "hysteria2+realm", "hy2+realm"))
    if r.random() < 0.6:
        return url(r, scheme, "pw", "stun=s.example:3478", "stun=203.0.113.7", "auth=x")
    ports = r.choice((",5000-6000", "-445", ",", "-", ",x", ",1000,2000-2001", ",70000"))
    return scheme + "://pw@" + host(r) + port(r) + ports + query(r) + fragment(r)


def mierus(r):
    pairs = []
    for _ in range(r.randrange(4)):
        pairs += ["port=" + r.choice(MIERU_PORTS), "protocol=" + r.choice(("TCP", "UDP", "tcp", ""))]
    if pairs and r.random() < 0.15:
        pairs.pop(r.randrange(len(pairs)))
    r.shuffle(pairs)
    where = user(r, "u:p") + "@" + host(r) + r.choice(("", "", port(r)))
    return "mierus://" + where + "?" + "&".join(["profile=default"] + pairs) + fragment(r)


def simple(r):
    scheme, usual = r.choice((("trojan", "pw"), ("tuic", UUID + ":pw"), ("tuic", "token"), ("hysteria", ""),
                              ("anytls", "pw"), ("socks", b64(r, "u:p")), ("socks5", "u:p"), ("socks5h", "u:p"),
                              ("http", "u:p"), ("https", b64(r, "u:p"))))
    return url(r, scheme, usual, "auth=x", r.choice(("protocol=udp", "protocol=faketcp")), "upmbps=10&downmbps=20")


def foreign(r):
    return url(r, r.choice(FOREIGN), "pw") if r.random() < 0.4 else r.choice(NO_LINKS)


SCHEMES = (ss, ss, ssr, vmess, vmess, vless, vless, hysteria2, mierus, simple, simple, simple, foreign)


def link(r):
    text = r.choice(SCHEMES)(r)
    if r.random() < 0.9:
        return text
    scheme, colon, rest = text.partition("://")
    return r.choice((scheme.upper() + colon + rest, scheme.title() + colon + rest, scheme + ":" + rest, " " + text,
                     text + " ", text + "\t", "- " + text, text + "\r", "\t" + text, text + "\x00",
                     text + "|" + text, text + " " + text))


def lines(r):
    sep = r.choice(("\n", "\n", "\n", "\r\n", "\n\n", "\r", " ", "|"))
    return sep.join(link(r) for _ in range(r.choice((1, 1, 2, 3, 8)))) + r.choice(("", "\n", "\r\n", " ", "\n\n"))


def wrapped(r, raw):
    n = r.random()
    if n < 0.45:
        return raw
    if n < 0.75:
        return b64(r, raw, 0.3).encode()
    whole, bom = base64.b64encode(raw), b"\xef\xbb\xbf"
    rows = base64.encodebytes(raw)
    return r.choice((
        bom + raw, b"\n\n " + raw, b"\x00" + raw, raw + b"\x00", b"# c\n" + raw, b"proxies:\n" + raw,
        raw.replace(b"n", b"\xff", 1), raw.decode().encode("utf-16"), rows, rows.replace(b"\n", b"\r\n"),
        rows.replace(b"\n", b" "), bom + whole, b" " + whole, whole + b"\n# c", raw + b"\n" + whole,
        base64.b64encode(whole), base64.b64encode(bom + raw), base64.urlsafe_b64encode(raw),
        b"<!DOCTYPE html><html>" + raw, b"-----BEGIN AGE ENCRYPTED FILE-----\n" + raw,
        b'{"outbounds":[{"server":"n1.example.net"}]}\n' + raw, b"[Proxy]\n" + raw))


def make(r):
    return wrapped(r, lines(r).encode())
