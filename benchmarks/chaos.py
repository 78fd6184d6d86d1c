"""``make chaos``: kill runs at random, damage their cache, fill the disk; the tables must not move.

Each notebook runs once undisturbed, with the small parameters of its test; its tables are the
reference. Each point then starts it in the same environment and disturbs it: SIGKILL to every
process of the run at a random moment, perhaps damage to random files afterwards; a disk that is
full from the n-th file on; two runs at once on one cache. It is run again to the end, and every CSV
is compared byte for byte. All of it is in ``--folder``, in a folder a notebook, emptied first.
"""

import argparse
import errno
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from tqdm import tqdm

from lib.paths import ROOT
from tests.test_notebooks import NOTEBOOKS, SMALL

MODES = {"kill": 0.4, "kill, damage": 0.4, "full disk": 0.1, "two at once": 0.1}  # shares of points
EMPTY = 0.5  # share of points that start with an empty cache, so that work is hit, not start-up
STARTUP = "import benchmarks.chaos\nbenchmarks.chaos.in_kernel()\n"
DAMAGE = {
    "cut": lambda content, rng: content[: int(rng.integers(len(content) + 1))],
    "emptied": lambda content, rng: b"",
    "made noise": lambda content, rng: rng.bytes(len(content)),
    "overwritten in part": lambda content, rng: (
        rng.bytes(len(content) // 9) + content[len(content) // 9 :]
    ),
    "made a web page": lambda content, rng: b"<html>404</html>",
}


def in_kernel() -> None:
    """Fill the disk, in a notebook's kernel: from file number CHAOS_FULL on, no file can be put."""
    left, replace = iter(range(int(os.environ["CHAOS_FULL"]))), Path.replace

    def fail(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return replace(path, target)

    Path.replace = fail


class Chaos:
    """A notebook in a scratch folder, with what its tables are when nothing disturbs it."""

    def __init__(self, notebook: Path, folder: Path, rng: np.random.Generator):
        self.notebook, self.folder, self.rng = notebook, folder / notebook.stem, rng
        self.cache, self.figures = self.folder / "cache", self.folder / "figures"
        shutil.rmtree(self.folder, ignore_errors=True)
        startup = self.folder / "ipython" / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "chaos.py").write_text(STARTUP)
        start = time.monotonic()
        self.finish()
        self.seconds = time.monotonic() - start
        self.expected = self.tables()
        if not self.expected:
            raise SystemExit(f"{notebook.name} makes no table: nothing to compare")

    def start(self, output: str = "build", **environment: str) -> psutil.Popen:
        """Start the notebook through the front door."""
        command = [sys.executable, "-m", "lib", "run", "--output", str(self.folder / output)]
        if self.notebook in NOTEBOOKS:
            command += [w for s in SMALL[self.notebook.name[:2]].split() for w in ("--set", s)]
        folders = {"CACHE_DIR": str(self.cache), "FIGURES_DIR": str(self.figures)}
        log = (self.folder / f"{output}.log").open("w")
        everything = os.environ | folders | environment
        command.append(str(self.notebook))
        return psutil.Popen(command, cwd=ROOT, env=everything, stdout=log, stderr=log)

    def said(self, output: str = "build") -> str:
        """Return the last line that a run printed."""
        return (self.folder / f"{output}.log").read_text().strip().rpartition("\n")[2]

    def finish(self) -> None:
        """Run to the end; RuntimeError with its last line if it fails."""
        if self.start().wait():
            raise RuntimeError(f"the run failed: {self.said()}")

    def tables(self) -> dict[str, bytes]:
        """Read all tables that stand."""
        return {path.name: path.read_bytes() for path in self.figures.rglob("[!.]*.csv")}

    def disturb(self, mode: str) -> dict[str, object]:
        """Disturb a run in one way and run it to the end; say what was done and what came of it."""
        empty = self.rng.random() < EMPTY
        shutil.rmtree(self.figures, ignore_errors=True)
        if empty:
            shutil.rmtree(self.cache, ignore_errors=True)
        row = {"cache": "empty" if empty else "kept", "killed": "", "damage": "", "result": "same"}
        try:
            if mode.startswith("kill"):
                row["killed"] = self.kill(self.rng.uniform(0, self.seconds))
                if mode.endswith("damage"):
                    row["damage"] = "; ".join(self.harm() for _ in range(self.rng.integers(1, 4)))
            elif mode == "full disk":
                row["damage"] = self.fill()
            else:
                runs = [self.start(), self.start("second")]
                if [run.wait() for run in runs] != [0, 0]:
                    raise RuntimeError(f"one of two failed: {self.said()} | {self.said('second')}")
            self.finish()
            found = self.tables()
            names = sorted(n for n in self.expected if self.expected[n] != found.get(n))
            row["result"] = f"DIFFERS: {', '.join(names)}" if names else "same"
        except RuntimeError as error:
            row["result"] = f"LOST: {error}"
        return row

    def kill(self, after: float) -> str:
        """SIGKILL every process of a run, its kernel and workers too, after so many seconds."""
        run = self.start()
        try:
            run.wait(after)
            return "missed: it had ended"
        except psutil.TimeoutExpired:
            run.suspend()  # so that it starts no other
            processes = [run, *run.children(recursive=True)]
            for process in processes:
                process.kill()
            psutil.wait_procs(processes, 60)
        return f"{after:.1f} of {self.seconds:.1f} s, {len(processes)} processes"

    def harm(self) -> str:
        """Damage a random file of the cache or among the results, as something outside might."""
        files = [p for f in (self.cache, self.figures) for p in sorted(f.rglob("*")) if p.is_file()]
        if not files:
            return "nothing there"
        path, kind = files[self.rng.integers(len(files))], str(self.rng.choice([*DAMAGE]))
        path.write_bytes(DAMAGE[kind](path.read_bytes(), self.rng))
        return f"{path.relative_to(self.folder)} {kind}"

    def fill(self) -> str:
        """Run on a disk that fills up; RuntimeError unless it ends in a sentence, no litter."""
        allowed = int(self.rng.integers(len(self.expected)))  # every run writes more
        extra = {"CHAOS_FULL": str(allowed), "IPYTHONDIR": str(self.folder / "ipython")}
        status, text = self.start(**extra).wait(), self.said()
        if status != 1 or "No space left" not in text:
            raise RuntimeError(f"a full disk ended with status {status}: {text}")
        litter = [p for f in (self.cache, self.figures) for p in f.rglob(".*.*") if p.is_file()]
        if litter:
            raise RuntimeError(f"a full disk left {litter[0]} behind")
        return f"full after {allowed} files"


def main(arguments: list[str] | None = None) -> int:
    """Disturb runs at some points and print a table of them; 1 if anything was lost or differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--points", type=int, default=50, help="how many runs are disturbed (50)")
    parser.add_argument(
        "--notebooks", nargs="+", default=["01", "03", "04"], help="numbers or files"
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=[*MODES], help="only some")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (0)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "chaos", help="scratch")
    options = parser.parse_args(arguments)
    by_number = {path.name[:2]: path for path in NOTEBOOKS}
    notebooks = [by_number.get(name, Path(name).resolve()) for name in options.notebooks]
    rng = np.random.default_rng(options.seed)
    references = tqdm(notebooks, desc="references", unit="notebook")
    made = [Chaos(path, options.folder.resolve(), rng) for path in references]
    share = np.array([MODES[mode] for mode in options.modes])
    rows = []
    for point in tqdm(range(options.points), desc="chaos", unit="point"):
        chaos, mode = made[point % len(made)], str(rng.choice(options.modes, p=share / share.sum()))
        row = {"point": point + 1, "notebook": chaos.notebook.name[:2], "mode": mode}
        rows.append(row | chaos.disturb(mode))
        tqdm.write(" | ".join(str(value) for value in rows[-1].values()))
    table = pd.DataFrame(rows)
    print(f"\n{table.to_string(index=False)}\n")
    hit, bad = table.killed.str.contains(" of "), (table.result != "same").sum()
    kernel = hit & ~table.killed.str.endswith(" 1 processes")
    print(f"{len(table)} points: {hit.sum()} kills hit a live run, {kernel.sum()} its kernel")
    print(f"{bad} lost or different")
    return int(bad > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"error: {error}")
