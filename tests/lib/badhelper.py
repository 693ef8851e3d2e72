"""A program directory in which clashsup finds a compromised helper beside it."""

import glob
import os
import shutil
import subprocess
import tempfile

from house import BUILD, LIB, PROGRAM, ROOT


class BadHelper:
    """mode("...") says what the role extract does from its next run on; see bad_helper.c."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="cs-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.program = os.path.join(self.dir, "clashsup")
        shutil.copy(PROGRAM, self.program)
        shutil.copy(os.path.join(BUILD, "clashsup-helper"), os.path.join(self.dir, "real-helper"))
        self.mode("good")
        subprocess.run(
            [
                "cc", "-std=gnu11", "-D_GNU_SOURCE", "-Iinclude", "-Isrc",
                "-o", os.path.join(self.dir, "clashsup-helper"), os.path.join(LIB, "bad_helper.c"),
                "src/parse/wire.c", *sorted(glob.glob("src/base/*.c", root_dir=ROOT)),
            ],
            cwd=ROOT,
            check=True,
        )
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def mode(self, word):
        path = os.path.join(self.dir, "mode")
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write(word)
        os.rename(path + ".new", path)
