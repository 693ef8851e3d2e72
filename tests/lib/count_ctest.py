#!/usr/bin/env python3
"""Counts ctest's cases: count_ctest.py JUNIT_XML -> "passed failed skipped".

A test program of cmocka or unittest counts with each of its cases, any other
program as one. Every case that did not pass is named on standard error.
"""

import re
import sys
import xml.etree.ElementTree


def main():
    totals = [0, 0, 0]
    for program in xml.etree.ElementTree.parse(sys.argv[1]).getroot().iter("testcase"):
        name, status = program.get("name"), program.get("status")
        text = program.findtext("system-out") or ""
        skipped = "".join(s.get("message") or "" for s in program.iter("skipped"))
        # What did not pass stands there twice: in its turn and in the summary.
        marks = {case: mark for mark, case in re.findall(r"\[ +(OK|FAILED|SKIPPED) +\] ([A-Za-z_]\w*)", text)}
        counts = [list(marks.values()).count(mark) for mark in ("OK", "FAILED", "SKIPPED")]
        for case, mark in marks.items():
            if mark != "OK":
                print(f"{mark[:4]} {name}: {case}", file=sys.stderr)
        if ran := re.search(r"^Ran (\d+) tests? in .*\n+(?:OK|FAILED)(.*)$", text, re.M):
            failed = sum(int(n) for n in re.findall(r"(?:failures|errors)=(\d+)", ran.group(2)))
            skips = sum(int(n) for n in re.findall(r"skipped=(\d+)", ran.group(2)))
            counts = [max(int(ran.group(1)) - failed - skips, 0), failed, skips]
            for case in re.findall(r"^(?:ERROR|FAIL): (\w+)", text, re.M):
                print(f"FAIL {name}: {case}", file=sys.stderr)
        if status == "run" and not any(counts):
            counts[0] = 1
        elif status == "notrun" and "SKIP_" in skipped:
            counts[2] = max(counts[2], 1)
            print(f"SKIP {name}", file=sys.stderr)
        elif status in ("fail", "notrun") and not counts[1]:  # notrun: the program is not there
            counts[1] = 1
            print(f"FAIL {name}", file=sys.stderr)
        totals = [a + b for a, b in zip(totals, counts)]
    print(*totals)


if __name__ == "__main__":
    main()
