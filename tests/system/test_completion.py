"""Completion: of every shell, all commands; of bash, also by asking it."""

import os
import re
import subprocess
import unittest

from house import PROGRAM, ROOT

DIRECTORY = os.path.join(ROOT, "etc/completion")


def commands():
    usage = subprocess.run([PROGRAM, "-h"], capture_output=True, text=True).stdout
    words = []
    for line in re.findall(r"^  ([a-z][^\n]*?)(?:  |\n)", usage, re.M):
        words += re.findall(r"(?:^|\| )([a-z]+)", line.split("[")[0].split("MODE")[0])
    return set(words)


def bash(*words):
    script = f'. {DIRECTORY}/clashsup.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _clashsup; printf "%s\\n" "${{COMPREPLY[@]}}"'
    return set(subprocess.run(["bash", "-c", script, "bash", "clashsup", *words], capture_output=True, text=True,
                              check=True).stdout.split())


class Completion(unittest.TestCase):
    def test_every_shell_knows_every_command(self):
        self.assertGreater(len(commands()), 20)
        for name in os.listdir(DIRECTORY):
            with open(os.path.join(DIRECTORY, name), encoding="utf-8") as f:
                text = f.read()
            for command in commands():
                self.assertRegex(text, rf"\b{command}\b", name)

    def test_bash(self):
        self.assertEqual({w for w in bash("") if not w.startswith("-")}, commands())
        self.assertEqual(bash("re"), {"restart", "refresh", "reexec", "reload"})
        self.assertEqual(bash("mode", ""), {"tproxy", "mixed"})
        self.assertEqual(bash("-c", "x", "status", "--"), {"--json", "--live"})
        self.assertEqual(bash("rules", "--backend", ""), {"iptables", "nft"})
        self.assertEqual(bash("stop", ""), set())
        self.assertIn("/etc/passwd", bash("-c", "/etc/pass"))


if __name__ == "__main__":
    unittest.main()
