#!/usr/bin/env python3
"""Compares what clashsup extracts with what Mihomo's own code derives from the same bytes.

	differ.py --helper clashsup-helper --oracle oracle [--count N] [--seed N] [--keep DIR]
	differ.py --helper ... --oracle ... FILE...       those files only
	differ.py --self-check                            a wrong expectation must be found

Inputs are made, and mutated, from a seed. The endpoints of each must be the same but for the
ALLOWED differences, which are counted. Every other difference is shown once for each of its
classes, with the smallest input that still has it, and makes the exit status 1.
"""
import argparse
import collections
import ipaddress
import json
import os
import random
import re
import subprocess
import sys
import tempfile

import links
import yamls

BATCH = 500

# Every difference that may be: the oracle's name of the case, or ours (the last four), and why.
ALLOWED = {
    "refused entry": "Mihomo refuses the whole file for what we do not judge: a cipher, a key, a name that is missing",
    "unknown type": "a plain server to us: a newer Mihomo may know it; this one refuses the whole file",
    "no name": "or one that is no text, or NAME: Mihomo's own config takes such an entry, a provider leaves it out",
    "repeated name": "exclude-type may have left out the first of that name",
    "brackets": "[2001:db8::1] in server: we read what was meant, Mihomo cannot dial it",
    "Proxy:": "the key of old files, which Mihomo refuses",
    "base64 of YAML": "read as the first versions did; Mihomo refuses it",
    "laxer syntax": "libyaml takes %YAML 1.2, a BOM within, escaped slashes, more between braces; Mihomo refuses all",
    "behind the document": "go-yaml looks two tokens behind the first document's end, and refuses all for what it sees",
    "repeated key": "libyaml takes repeated keys; Mihomo refuses the file",
    "beside broken YAML": "another part of the file does not fit, so Mihomo refuses it",
    "impossible host": "no DNS server can have it, so no dial comes of it: we leave it out",
    "zone": "only link-local addresses have one, which are never routed through the proxy: we leave them out",
    "two spellings": "of one key, neither as Mihomo has it: it takes one at random; nothing is compared",
    "links behind": "for the same look behind a document Mihomo may take all for links; we see a map without proxies",
}


class Input:
    """One file's bytes, and where they came from."""

    def __init__(self, label, data):
        self.label, self.data = label, data


# ---- making ----

TOKENS = [b"\0", b"\t", b" ", b"\n", b"\r", b": ", b" #", b"&a ", b"*a", b"- ", b"<<: ", b"---\n"]
TOKENS += [b"\xff", b"\xc3", b"\xef\xbb\xbf"] + [bytes([c]) for c in b":'\"{}[,#!|-\\%@=?"]


def mutate(r, data, other):
    data = bytearray(data)
    for _ in range(r.choice((1, 1, 1, 2, 4))):
        at, to = sorted((r.randrange(len(data) + 1), r.randrange(len(data) + 1)))
        how = r.randrange(9)
        rows = bytes(data).split(b"\n")
        if how == 0 and at < len(data):
            data[at] ^= 1 << r.randrange(8)
        elif how == 1:
            del data[at:at + r.choice((1, 1, 2, 8))]
        elif how == 2:
            data[at:at] = data[at:to][:64]
        elif how == 3:
            data[at:] = other[r.randrange(len(other) + 1):]
        elif how == 4:
            data[at:at] = r.choice(TOKENS)
        elif how == 5:
            i, j = r.randrange(len(rows)), r.randrange(len(rows))
            rows[i], rows[j] = rows[j], rows[i]
            data = bytearray(b"\n".join(rows))
        elif how == 6:
            del rows[r.randrange(len(rows))]
            data = bytearray(b"\n".join(rows))
        elif how == 7:
            data = data[:at]
        elif at < len(data):
            data[at] = r.randrange(256)
    return bytes(data)


MAKERS = {"yaml": yamls.make, "links": links.make}


def make(seed, number, only=None):
    r = random.Random("%d/%d" % (seed, number))
    label = only or r.choice(tuple(MAKERS))
    data = MAKERS[label](r)
    if r.random() < 0.3:
        return Input(label + ", mutated", mutate(r, data, MAKERS[r.choice(("yaml", "links"))](r)))
    return Input(label, data)


# ---- asking ----

class Programs:
    """Both sides, asked about many files at once."""

    def __init__(self, helper, oracle):
        self.helper, self.oracle = helper, oracle

    def ask(self, inputs):
        """(ours, theirs) for each input."""
        with tempfile.TemporaryDirectory(prefix="differ-") as room:
            paths = [os.path.join(room, "%05d" % i) for i in range(len(inputs))]
            for path, i in zip(paths, inputs):
                with open(path, "wb") as f:
                    f.write(i.data)
            theirs = subprocess.Popen([self.oracle], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            theirs.stdin.write(("\n".join(paths) + "\n").encode())
            theirs.stdin.close()
            ours = self.ours(paths)
            answers = [json.loads(row) for row in theirs.stdout]
            if theirs.wait() != 0 or [a["file"] for a in answers] != paths:
                sys.exit("differ: the oracle ended with %d after %d files" % (theirs.returncode, len(answers)))
            return [(ours[p], a) for p, a in zip(paths, answers)]

    def ours(self, paths):
        command = [self.helper, "list", "--json", "--no-resolve"]
        run = subprocess.run(command + paths, stdout=subprocess.PIPE, check=False)
        if run.returncode != 0:
            sys.exit("differ: the helper ended with %d; its files: %s" % (run.returncode, paths[0]))
        out = {p: {"endpoints": [], "skipped": []} for p in paths}
        answer = json.loads(run.stdout.decode("utf-8", "replace"), strict=False)
        for part in ("endpoints", "skipped"):
            for row in answer[part]:
                out[row["file"]][part].append(row)
        return out


# ---- comparing ----

def normal_host(text):
    """Addresses as addresses, names without case."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text.lower()
    return str(getattr(address, "ipv4_mapped", None) or address)


def key(e):
    ports, dialer = e["ports"] or "", e["dialer-proxy"] or ""
    return (e["kind"], normal_host(e["host"]), e["port"] or 0, ports, dialer, e["transport"])


def left_out(host):
    """What of ALLOWED keeps a host out of our set, or None."""
    if literal(host):
        return "zone" if "%" in host else None
    odd = re.search(r"[\x00-\x20\x7f/\\@%?#\[\]<>\"'`{}|^,;=&:]", host)
    return "impossible host" if odd or len(host.encode()) > 253 else None


def literal(host):
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Verdict:
    """The differences of one file: missing and invented endpoints, and what of ALLOWED it took."""

    def __init__(self, ours, theirs):
        told = collections.Counter(key(e) for e in ours["endpoints"])
        must = collections.Counter(key(e) for e in theirs["endpoints"] if not left_out(e["host"]))
        self.agreed = sum((told & must).values())
        self.missing, self.invented = must - told, told - must
        self.used = collections.Counter(filter(None, (left_out(e["host"]) for e in theirs["endpoints"])))
        for e in theirs["loose"]:
            self.excuse(self.invented, e["why"], key(e), 1)
        if theirs.get("behind"):
            for k in list(self.missing):
                self.excuse(self.missing, "links behind", k, self.missing[k])
        if theirs.get("random"):
            self.used["two spellings"] += 1
            self.missing, self.invented = collections.Counter(), collections.Counter()
        self.skipped = sorted({s["reason"] for s in ours["skipped"]})
        self.refused = theirs["refused"]

    def excuse(self, where, why, k, times):
        if why in ALLOWED and where[k] > 0:
            where[k] -= times
            self.used[why] += times
        where += collections.Counter()  # drops what is at zero

    def classes(self, label):
        reason = re.sub(r'"[^"]*"|\d+', "*", self.skipped[0]) if self.skipped else ""
        refused = re.sub(r"(entry \d+: )?", "", re.sub(r'["\'`][^"\'`]*["\'`]|\d+', "*", self.refused))[:60]
        return {(what, label, e[0], bool(e[3]), reason, refused)
                for what, them in (("missing", self.missing), ("invented", self.invented)) for e in them}


def smaller(data):
    """Candidates with a half, a quarter... of the lines, or of the bytes of one line, taken out."""
    rows = data.splitlines(keepends=True)
    parts = rows if len(rows) > 1 else [data[i:i + 1] for i in range(len(data))]
    size = len(parts) // 2
    while size >= 1 and len(parts) // size <= 64:
        for at in range(0, len(parts), size):
            yield b"".join(parts[:at] + parts[at + size:])
        size //= 2


def shrink(programs, sample, wanted):
    """The smallest input found in a few rounds that still has the kind of difference wanted."""
    for _ in range(12):
        tries = [Input(sample.label, d) for d in smaller(sample.data)]
        for candidate, (ours, theirs) in zip(tries, programs.ask(tries) if tries else []):
            if any(c[:3] == wanted[:3] and c[5] == wanted[5] for c in Verdict(ours, theirs).classes(sample.label)):
                sample = candidate
                break
        else:
            return sample
    return sample


class Report:
    """What was seen, and one example for each class of difference."""

    def __init__(self):
        self.inputs = self.agreed = self.differing = 0
        self.used = collections.Counter()
        self.examples = collections.OrderedDict()
        self.counts = collections.Counter()

    def take(self, sample, ours, theirs):
        verdict = Verdict(ours, theirs)
        self.inputs += 1
        self.agreed += verdict.agreed
        self.used += verdict.used
        classes = verdict.classes(sample.label)
        self.differing += bool(classes)
        for c in classes:
            self.counts[c] += 1
            if len(sample.data) < len(self.examples.setdefault(c, sample).data):
                self.examples[c] = sample
        return bool(classes)

    def show(self, programs, most):
        for c, count in self.counts.most_common(most):
            sample = shrink(programs, self.examples[c], c)
            ours, theirs = programs.ask([sample])[0]
            v = Verdict(ours, theirs)
            print("\n## %s in %s, kind %s, %d times" % (c[:3] + (count, )))
            print("skipped: %s\nrefused: %s" % (v.skipped, v.refused))
            print("missing: %s\ninvented: %s\ninput: %r" % (list(v.missing), list(v.invented), sample.data[:3000]))

    def line(self):
        used = ", ".join("%s %d" % u for u in self.used.most_common()) or "none"
        seen = (self.inputs, self.agreed, self.differing, used)
        return "differ: %d inputs, %d endpoints agree, %d inputs differ; allowed: %s" % seen


# ---- going ----

def self_check():
    """The comparison fails where it must."""
    def one(host, why=None):
        e = {"kind": "server", "host": host, "port": 443, "ports": None, "dialer-proxy": None, "transport": "tcp"}
        return dict(e, why=why) if why else e

    def verdict(ours, theirs, loose=()):
        return Verdict({"endpoints": ours, "skipped": []}, {"endpoints": theirs, "loose": list(loose), "refused": ""})

    cases = [
        ("the same", verdict([one("A.example")], [one("a.example")]), 0, 0),
        ("one text of an address", verdict([one("2001:db8::1")], [one("2001:DB8:0::1")]), 0, 0),
        ("a missing one", verdict([], [one("a.example")]), 1, 0),
        ("an invented one", verdict([one("a.example")], []), 0, 1),
        ("through another proxy", verdict([one("a.example")], [dict(one("a.example"), **{"dialer-proxy": "p"})]), 1, 1),
        ("another one", verdict([one("a.example")], [one("b.example")]), 1, 1),
        ("once instead of twice", verdict([one("a.example")], [one("a.example")] * 2), 1, 0),
        ("allowed", verdict([one("a.example")], [], [one("a.example", "Proxy:")]), 0, 0),
        ("allowed once, told twice", verdict([one("a.example")] * 2, [], [one("a.example", "Proxy:")]), 0, 1),
        ("not in the table", verdict([one("a.example")], [], [one("a.example", "no reason")]), 0, 1),
        ("allowed is no duty", verdict([], [], [one("a.example", "Proxy:")]), 0, 0),
    ]
    for what, v, missing, invented in cases:
        if (sum(v.missing.values()), sum(v.invented.values())) != (missing, invented):
            sys.exit("differ: the self-check failed: %s" % what)


def wrong_expectation(programs):
    """The whole way too: a server that Mihomo is told about and we are not."""
    entry = b"{name: a, type: http, server: a.example, port: 1}"
    (ours, _), (_, theirs) = programs.ask([Input("", b"proxies: []\n"), Input("", b"proxies: [" + entry + b"]\n")])
    if not Verdict(ours, theirs).missing:
        sys.exit("differ: the self-check failed: a missing server was not noticed")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--helper")
    parser.add_argument("--oracle")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="where inputs that differ are kept")
    parser.add_argument("--show", type=int, default=20, help="how many classes are shown")
    parser.add_argument("--only", choices=list(MAKERS), help="one family of inputs")
    parser.add_argument("--self-check", action="store_true")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    self_check()
    if args.self_check:
        return 0
    programs, report = Programs(args.helper, args.oracle), Report()
    wrong_expectation(programs)
    if args.files:
        inputs = [Input(f, open(f, "rb").read()) for f in args.files]
    else:
        inputs = (make(args.seed, n, args.only) for n in range(args.first, args.first + args.count))
    batch = []
    for sample in inputs:
        batch.append(sample)
        if len(batch) == BATCH:
            compare(programs, report, batch, args.keep)
            batch = []
    if batch:
        compare(programs, report, batch, args.keep)
    report.show(programs, args.show)
    print(report.line())
    return 1 if report.differing else 0


def compare(programs, report, batch, keep):
    for sample, (ours, theirs) in zip(batch, programs.ask(batch)):
        if report.take(sample, ours, theirs) and keep:
            os.makedirs(keep, exist_ok=True)
            with open(os.path.join(keep, "%05d" % report.inputs), "wb") as f:
                f.write(sample.data)


if __name__ == "__main__":
    sys.exit(main())
