"""Providers' files in YAML: entries in one of many styles, in a document, in an encoding."""
import base64

from entries import Raw, entry

KEYS = ["proxies"] * 20 + ["Proxy", "Proxies", '"proxies"', "proxies ", "proxy"]
HEADS = ["port: 7890\n", "mode: rule\nrules: []\n", "--- \n", "---\n", "%YAML 1.1\n---\n", "%YAML 1.2\n---\n", "\n\n",
         "# c\n", "a: &a [*a]\n", "proxies: ~\n"]
TAILS = ["---\nproxies: []\n", "...\n", "...\ngarbage: [\n", "rules: [MATCH,DIRECT]\n", "proxies: []\n", "---\n- x\n",
         "\t\n", "x", "\0"]
PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+")


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
        if plain(value, flow or key) and r.random() < 0.75:
            return value
        bare = value and value.strip() == value and value[0] not in "-?" and not set(value) & set("\n\t")
        n = r.random()
        if n < 0.45:
            return "'" + value.replace("'", "''").replace("\n", "\n\n      ") + "'"
        if n < 0.52 and not key and self.odd:
            return r.choice(("!!str ", "! ", "!!binary ", "!x ")) + json_text(r, value, False)
        if n < 0.55 and not flow and not key and bare:
            return r.choice(("|-", ">-", "|", ">", "|+", "|2-", "|- # c")) + "\n" + " " * 12 + value
        if n < 0.6 and bare and not set(value) & set("'\"#:,[]{}&*!|>%@`"):
            return value
        return json_text(r, value, self.odd)

    def node(self, value, indent, flow):
        """The text behind `key:` or `-`, with what must stand before it."""
        r, mark = self.r, ""
        if self.odd and self.anchors and r.random() < 0.06:
            return " *" + r.choice(self.anchors) + (" " if flow else "")
        if self.odd and r.random() < 0.1:
            self.anchors.append("a%d" % len(self.anchors))
            mark = " &" + self.anchors[-1]
        if not isinstance(value, list):
            return mark + " " + self.scalar(value, flow)
        pairs = value and isinstance(value[0], tuple)
        within = self.style in ("flow", "json") and indent > 0 or self.style == "mixed" and r.random() < 0.5
        if flow or within or not value:
            return mark + " " + (self.flow_map(value) if pairs else self.flow_list(value))
        return mark + "\n" + (self.block_map(value, indent) if pairs else self.block_list(value, indent))

    def flow_map(self, pairs):
        r = self.r
        sep = r.choice((", ", ",", ", ", ",\n          " if self.style == "flow" else ", "))
        colon = ":" if self.style != "json" or r.random() < 0.7 else " :"
        end = r.choice(("}", "}", " }", ",}" if self.odd else "}"))
        return "{" + sep.join(self.scalar(k, True, True) + colon + self.node(v, 9, True) for k, v in pairs) + end

    def flow_list(self, items):
        return "[" + ", ".join(self.node(i, 9, True).strip() for i in items) + "]"

    def block_map(self, pairs, indent):
        pad = " " * indent
        lines = []
        for k, v in pairs:
            before = pad + self.scalar(k, False, True)
            if self.odd and self.r.random() < 0.02:
                before = pad + "? " + before.lstrip() + "\n" + pad
            lines.append(before + ":" + self.node(v, indent + self.step, False))
        if self.odd and self.r.random() < 0.15:
            lines.insert(self.r.randrange(len(lines) + 1), self.r.choice(("# c", pad + "# c: d", "", pad + "#")))
        return "\n".join(lines)

    def block_list(self, items, indent):
        out = []
        for i in items:
            text = self.node(i, indent + 2, False)
            if text.startswith("\n") and self.r.random() < 0.9:  # "- key: value"
                text = " " + text[1:].lstrip(" ")
            out.append(" " * indent + "-" + text)
        return "\n".join(out)


def plain(value, close):
    """Needs no quotes; colons within are left to values of block style."""
    return value and set(value) <= PLAIN | (set() if close else {":"}) and value[0] not in "-:." and value[-1] != ":"


def json_text(r, value, odd):
    out = ""
    for c in value:
        if c in '"\\':
            c = "\\" + c
        elif c < " ":
            c = {"\n": "\\n", "\t": "\\t"}.get(c, "\\u%04x" % ord(c))
        elif odd and c < "\U00010000" and r.random() < 0.03:
            c = r.choice(("\\u%04x" % ord(c), "\\x%02x" % ord(c) if ord(c) < 256 else c, "\\/" if c == "/" else c))
        out += c
    return '"' + out + '"'


def merged(r, entries):
    """Moves some pairs into maps that are merged, and gives those maps."""
    bases = []
    for pairs in entries:
        if len(pairs) < 4 or r.random() < 0.5:
            continue
        cut = r.randrange(1, len(pairs))
        names = ["m%d" % len(bases)]
        bases.append((names[0], pairs[cut:]))
        kept = pairs[:cut] + (r.sample(pairs[cut:], 1) if r.random() < 0.3 else [])
        if r.random() < 0.4:
            names.insert(r.randrange(2), r.choice(bases)[0])
        aliases = ", ".join("*%s " % n for n in names)
        if len(names) > 1 or r.random() < 0.6:
            aliases = "[" + aliases + "]"
        key = r.choice(("<<", "<<", "<<", '"<<"', "!!merge <<"))
        kept.insert(r.randrange(len(kept) + 1), (Raw(key), Raw(aliases)))
        pairs[:] = kept
    return bases


def document(r):
    entries = [entry(r, n) for n in range(r.choice((1, 1, 2, 3, 6)))]
    w, key, text = Writer(r), r.choice(KEYS), ""
    if w.style == "json":
        text = "{" + '"%s":' % key.strip('"') + w.node(entries, 0, True) + "}"
    else:
        if r.random() < 0.12:
            for name, pairs in merged(r, entries):
                text += "x-%s: &%s %s\n" % (name, name, w.flow_map(pairs))
        text += key + ":" + w.node(entries, 0 if w.style == "flow" else r.choice((0, 2, 2, w.step)), False) + "\n"
    if r.random() < 0.1:
        text = r.choice(HEADS) + text
    return text + (r.choice(TAILS) if r.random() < 0.08 else "")


def encode(r, text):
    if r.random() < 0.85:
        return text.encode()
    return r.choice((
        lambda: b"\xef\xbb\xbf" + text.encode(),
        lambda: b"\xff\xfe" + text.encode("utf-16-le"),
        lambda: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda: text.encode("utf-16-le"),
        lambda: text.replace("\n", "\r\n").encode(),
        lambda: text.replace("\n", "\r").encode(),
        lambda: text.replace("\n", "\u2028", 1).encode(),
        lambda: text.replace("\n", "\x85").encode(),
        lambda: text.replace("  ", "\t", 1).encode(),
        lambda: base64.b64encode(text.encode())))()


def make(r):
    return encode(r, document(r))
