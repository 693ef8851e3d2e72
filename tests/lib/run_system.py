#!/usr/bin/env python3
"""Runs tests/system: one line a case, then "passed failed skipped" into a file.

    run_system.py [--counts FILE] [--of docker] [WORD...]

--of takes the cases of another directory beside it. A WORD picks the cases whose id (file.Class.case) holds it.
"""

import argparse
import os
import signal
import sys
import time
import unittest

LIB = os.path.dirname(os.path.abspath(__file__))
SYSTEM = os.path.join(os.path.dirname(LIB), "system")
sys.path[:0] = [LIB, SYSTEM]
sys.dont_write_bytecode = True


MOST_LINES = 40


class Lines(unittest.TestResult):
    """Says each case in one line, and why a case failed directly below it."""

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()
        self.told = False

    def tell(self, word, test, why=""):
        self.told = True
        took = f" ({time.monotonic() - self.begun:.1f} s)" if hasattr(self, "begun") else ""
        print(f"{word:4} {name_of(test)}{took}{': ' + why if why else ''}", flush=True)

    def fail(self, test, error):
        self.tell("FAIL", test)
        lines = self._exc_info_to_string(error, test).splitlines()
        if len(lines) > MOST_LINES:  # two large sets that differ
            lines[MOST_LINES:] = [f"... and {len(lines) - MOST_LINES} lines more"]
        print("\n".join("    " + line[:1000] for line in lines), flush=True)

    def addSuccess(self, test):
        self.tell("ok", test)
        self.passed = getattr(self, "passed", 0) + 1

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.fail(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.fail(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.tell("SKIP", test, reason)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.fail(subtest, err)


def name_of(test):
    return test.id().replace("setUpClass (", "(every case of ")


def cases(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases(item)
        else:
            yield item


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--counts")
    args.add_argument("--of", default="system")
    args.add_argument("words", nargs="*")
    args = args.parse_args()
    # Run in the background by a shell, this ignores SIGINT, and so would all that it starts; what has a handler does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    loader = unittest.TestLoader()
    # The helper's own test needs neither root nor namespaces: ctest runs it.
    found = [c for c in cases(loader.discover(os.path.join(os.path.dirname(SYSTEM), args.of))) if "test_helper_program" not in c.id()]
    chosen = [c for c in found if not args.words or any(w in c.id() for w in args.words)]
    result = Lines()
    unittest.TestSuite(chosen).run(result)
    passed = getattr(result, "passed", 0)
    # A case with several failed sub-tests is one failed case.
    failed = len({name_of(getattr(test, "test_case", test)) for test, _ in result.failures + result.errors})
    # A class that was skipped as a whole counts with all its cases.
    skipped = max(len(result.skipped), len(chosen) - passed - failed)
    if args.counts:
        with open(args.counts, "w", encoding="utf-8") as f:
            f.write(f"{passed} {failed} {skipped}\n")
    print(f"{args.of}: {passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
