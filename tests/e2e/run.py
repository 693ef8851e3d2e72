#!/usr/bin/env python3
"""Plays the packet-path suite: every scene on every variant of the firewall.

    run.py [--counts FILE] [--jobs N] [--variant NAME]... [--list] [WORD...]

A WORD picks the scenes whose name holds it. Each scene tells in one line how
many checks it made; each variant ends with one line; "passed failed skipped"
checks go into FILE. Houses are made of network namespaces, each with its own
lock file, so scenes are played side by side.
"""

import argparse
import collections
import importlib
import multiprocessing
import os
import queue
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RULES = os.path.join(HERE, "rules")
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "lib"), RULES]
sys.dont_write_bytecode = True

import stage as S  # noqa: E402

Result = collections.namedtuple("Result", "variant masquerade name passed failures skips notes took story")


def missing():
    """Why nothing can be played here, as lines."""
    return [
        why
        for problem, why in (
            (os.geteuid() != 0, "the packet-path suite needs root for network namespaces"),
            (not os.access(S.PROGRAM, os.X_OK), f"{S.PROGRAM} is not built"),
            (not os.access(S.STANDIN, os.X_OK), f"{S.STANDIN} is not built"),
        )
        if problem
    ]


def worker(jobs, results):
    """Plays what is in the queue; keeps its houses while they are clean."""
    houses = {}
    try:
        while True:
            try:
                variant, masquerade, index = jobs.get_nowait()
            except queue.Empty:
                return
            function = S.SCENES[index]
            if masquerade not in houses:
                houses[masquerade] = S.RulesHouse(masquerade)
                houses[masquerade].__enter__()
            stage = S.play(function, houses[masquerade], S.VARIANTS[variant])
            if stage.failures:
                houses.pop(masquerade).__exit__()
            results.put(Result(variant, masquerade, function.__name__, stage.passed, stage.failures, stage.skips,
                               stage.notes, stage.took, getattr(stage, "story", "")))
    finally:
        for house in houses.values():
            house.__exit__()
        results.put(None)


def tell(result):
    word = "FAIL" if result.failures else "SKIP" if result.skips else "ok"
    where = result.variant + (" behind masquerade" if result.masquerade else "")
    checks = result.passed + len(result.failures)
    print(f"{word:4} {where}: {result.name} ({checks} checks, {result.took:.1f} s)", flush=True)
    for text in result.failures:
        print("     FAILED " + text.replace("\n", "\n     "), flush=True)
    for text in result.skips:
        print("     skipped: " + text, flush=True)
    for text in result.notes:
        print("     note: " + text, flush=True)
    if result.failures and result.story:
        print(result.story, flush=True)


def play_all(jobs, n):
    """Results as they come, from n processes."""
    todo, results = multiprocessing.Queue(), multiprocessing.Queue()
    for job in jobs:
        todo.put(job)
    time.sleep(0.1)  # the queue's own thread: nobody may find it empty at first
    workers = [multiprocessing.Process(target=worker, args=(todo, results)) for _ in range(min(n, len(jobs)))]
    for w in workers:
        w.start()
    left = len(workers)
    while left:
        try:
            result = results.get(timeout=1)
        except queue.Empty:
            if not any(w.is_alive() for w in workers) and results.empty():
                print("a worker died without a word", flush=True)
                return
            continue
        if result is None:
            left -= 1
        else:
            yield result
    for w in workers:
        w.join()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--counts")
    args.add_argument("--jobs", type=int, default=4)
    args.add_argument("--variant", action="append", choices=list(S.VARIANTS))
    args.add_argument("--list", action="store_true")
    args.add_argument("words", nargs="*")
    args = args.parse_args()
    for file in sorted(os.listdir(RULES)):
        if file.startswith("scenes_"):
            importlib.import_module(file[:-3])
    totals = {name: [0, 0, 0] for name in args.variant or S.VARIANTS}
    why = missing()
    if why:
        print("SKIP the packet-path suite: " + "; ".join(why), flush=True)
        return finish(args, {"e2e": [0, 0, 1]}, 0)
    for name in list(totals):
        if S.VARIANTS[name].missing:
            print("SKIP " + S.VARIANTS[name].missing, flush=True)
            totals[name][2] += len(S.SCENES)
    jobs = [
        (variant, masquerade, index)
        for masquerade in (False, True)
        for index, function in sorted(enumerate(S.SCENES), key=lambda s: -s[1].seconds)
        for variant in totals
        if not S.VARIANTS[variant].missing and variant in function.variants and masquerade in function.masquerade
        and (not args.words or any(w in function.__name__ for w in args.words))
    ]
    if args.list:
        for variant, masquerade, index in jobs:
            print(variant, masquerade, S.SCENES[index].__name__)
        return 0
    played = 0
    for result in play_all(jobs, args.jobs):
        played += 1
        tell(result)
        total = totals[result.variant]
        total[0] += result.passed
        total[1] += len(result.failures)
        total[2] += len(result.skips)
    if played < len(jobs):
        print(f"{len(jobs) - played} scenes were not played", flush=True)
        totals[next(iter(totals))][1] += len(jobs) - played
    return finish(args, totals, len(jobs))


def finish(args, totals, played):
    for name, (passed, failed, skipped) in totals.items():
        print(f"e2e {name}: {passed} checks passed, {failed} failed, {skipped} skipped", flush=True)
    if args.counts:
        with open(args.counts, "w", encoding="utf-8") as f:
            f.write(" ".join(str(sum(t[n] for t in totals.values())) for n in range(3)) + "\n")
    return 1 if any(t[1] for t in totals.values()) or (not played and not any(t[2] for t in totals.values())) else 0


if __name__ == "__main__":
    sys.exit(main())
