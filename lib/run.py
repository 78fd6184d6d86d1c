"""Execute, refresh, verify and lint the notebooks: what the Makefile calls.

``python -m lib.run --help`` lists the commands. A profile is ``profiles/<name>.yaml``::

    common:            # passed to every notebook that declares the parameter
      seed: 0
    "01":              # passed to notebooks/01_*.ipynb, which must declare each of them
      n_images: 100
"""

import argparse
import ast
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill
import yaml
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from lib.paths import ROOT, figures_dir

MAX_BYTES = 1_500_000  # a code-hosting page stops rendering notebooks not far above this
_HOME = re.compile(r"(?:/home/|/Users/|/root/|[A-Z]:\\+Users\\+)[\w.-]*")
_WIDGET = "application/vnd.jupyter.widget-view+json"
# A widget shows nothing on a terminal and nothing on a rendered page: bars as text when headless.
_TEXT_BARS = "import tqdm.auto as a, tqdm.std as s; a.tqdm, a.trange = s.tqdm, s.trange; del a, s"


class NotebookError(Exception):
    """A notebook stopped; the message names its cell and says why."""


class ThisPython(AsyncKernelManager):
    """A kernel of the running interpreter, whatever kernels the machine has registered."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel's command line and environment; `lib` is the one next to this module."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(
            argv=[
                *launch,
                f"--IPKernelApp.exec_lines={_TEXT_BARS}",
                "--IPKernelApp.log_level=ERROR",  # else it warns of its local sockets each time
            ],
            display_name="Python 3",
            language="python",
            env={"PYTHONPATH": path},
        )


def _read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


# -- profiles ----------------------------------------------------------------------------------


def notebook_number(path: Path) -> str:
    """Return the two digits that a notebook's file name starts with ("01")."""
    if not re.match(r"\d\d_", path.name):
        raise ValueError(f"{path.name}: a notebook's name starts with its number, as in 01_title")
    return path.name[:2]


def declared_parameters(notebook: Path) -> set[str]:
    """Return the names assigned in the notebook's cells tagged ``parameters``."""
    tagged = [c.source for c in _read(notebook).cells if _tagged(c)]
    statements = ast.parse("\n".join(tagged)).body
    targets = [t for s in statements for t in getattr(s, "targets", [getattr(s, "target", None)])]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def profile_parameters(profile_file: Path, notebook: Path) -> dict[str, object]:
    """Return the parameters that a profile sets in one notebook.

    The section of the notebook wins over ``common``. A notebook that declares ``PROFILE`` is
    given the profile's name.

    Raises
    ------
    FileNotFoundError
        There is no such profile.
    ValueError
        The section of the notebook names a parameter that the notebook does not declare, or the
        profile is not a mapping of sections.
    """
    if not profile_file.is_file():
        known = ", ".join(sorted(p.stem for p in profile_file.parent.glob("*.yaml"))) or "none"
        raise FileNotFoundError(f"No profile {profile_file}; profiles there: {known}")
    sections = yaml.safe_load(profile_file.read_text()) or {}
    number = notebook_number(notebook)
    if not isinstance(sections, dict):
        raise ValueError(f"{profile_file}: expected sections such as common: and '{number}':")
    wrong = [key for key in sections if not re.fullmatch(r"common|\d\d", str(key))]
    if wrong or any(not isinstance(v, dict | None) for v in sections.values()):
        raise ValueError(
            f"{profile_file}: each section is common or a quoted notebook number such as "
            f"'{number}', and holds parameters" + (f"; found {wrong[0]!r}" if wrong else "")
        )
    own = sections.get(number) or {}
    declared = declared_parameters(notebook)
    if unknown := sorted(own.keys() - declared):
        raise ValueError(
            f"{profile_file}, section '{number}': {notebook.name} declares no parameter "
            f"{', '.join(unknown)}; it declares {', '.join(sorted(declared)) or 'none'}"
        )
    shared = {"PROFILE": profile_file.stem, **(sections.get("common") or {})}
    return {name: value for name, value in shared.items() if name in declared} | own


# -- executing ---------------------------------------------------------------------------------


def execute(notebook: Path, output: Path, parameters: dict[str, object]) -> None:
    """Execute a notebook in its own folder and leave the executed copy at `output`, atomically.

    Everything that the notebook prints is passed on as it comes. While it runs, and after a kill,
    the copy is ``NN_title.running.ipynb``; after a failure it is ``NN_title.failed.ipynb``.

    Raises
    ------
    NotebookError
        A cell failed or the kernel died.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    running, failed = (output.with_suffix(f".{s}.ipynb") for s in ("running", "failed"))
    started = time.time()
    try:
        papermill.execute_notebook(
            notebook.resolve(),
            running.resolve(),
            parameters,
            kernel_name="python3",
            language="python",
            kernel_manager_class=ThisPython,
            cwd=notebook.resolve().parent,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except PapermillExecutionError as error:
        running.replace(failed)
        sources = [cell.source for cell in _read(notebook).cells]
        number = sources.index(error.source) + 1 if error.source in sources else "of parameters"
        raise NotebookError(
            f"{notebook.name} failed in cell {number}, In [{error.exec_count}] of the copy kept as "
            f"{failed}\n{error.ename}: {error.evalue}"
        ) from error
    except DeadKernelError as error:
        running.replace(failed)
        raise NotebookError(
            f"{notebook.name}: its kernel died, most often for lack of memory; try smaller "
            f"sizes or JOBS. The copy up to there: {failed}"
        ) from error
    os.utime(running, (started, started))  # an edit made during the run is newer than its result
    running.replace(output)
    failed.unlink(missing_ok=True)


def run_notebook(
    notebook: Path,
    profile_file: Path,
    output: Path,
    overrides: dict[str, object],
    jobs: int | str | None,
) -> None:
    """Execute one notebook with a profile's parameters and report the time it took."""
    parameters = profile_parameters(profile_file, notebook)
    declared = declared_parameters(notebook)
    if unknown := sorted(overrides.keys() - declared):
        raise ValueError(
            f"--set {', '.join(unknown)}: {notebook.name} declares {', '.join(sorted(declared))}"
        )
    if jobs is not None and "JOBS" in declared:
        parameters["JOBS"] = jobs
    print(f"{notebook.name}, {profile_file.stem} profile", flush=True)
    start = time.monotonic()
    execute(notebook, output, parameters | overrides)
    seconds = time.monotonic() - start
    print(f"{notebook.name} done in {seconds:.0f} s: {os.path.relpath(output)}", flush=True)


# -- committed outputs -------------------------------------------------------------------------


def refreshed(source: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """Return `source` with the outputs of its executed copy, as it is to be committed.

    The cell that papermill injected goes, counts run from 1, and whatever differs from run to run
    goes too: times, widgets, and the standard error stream with its progress bars.

    Raises
    ------
    ValueError
        The source has changed since it was executed.
    """
    ran = [c for c in executed.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    if [c.source for c in ran] != [c.source for c in source.cells]:
        raise ValueError("it has changed since it was executed; run `make reproduce` first")
    result = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
    )
    count = 0
    for cell, done in zip(source.cells, ran, strict=True):
        cell = nbformat.from_dict(cell)
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = [nbformat.from_dict(o) for o in done.outputs if not _fleeting(o)]
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
        result.cells.append(cell)
    return result


def _fleeting(output: NotebookNode) -> bool:
    """Tell whether an output is a widget or the standard error stream."""
    return output.get("name") == "stderr" or _WIDGET in output.get("data", {})


def refresh(notebook: Path, executed: Path) -> None:
    """Store the outputs of an executed copy in the notebook itself."""
    if not executed.is_file():
        raise FileNotFoundError(f"No executed copy {executed}; run `make reproduce` first")
    try:
        result = refreshed(_read(notebook), _read(executed))
    except ValueError as error:
        raise ValueError(f"{notebook.name}: {error}") from None
    scratch = notebook.with_suffix(".refreshing")
    nbformat.write(result, scratch)
    shutil.copystat(notebook, scratch)  # its source is as old as before: make need not rerun it
    scratch.replace(notebook)


def _tagged(cell: NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def hygiene(path: Path) -> list[str]:
    """Return what keeps a notebook from being committed; an empty list where nothing does."""
    faults = []
    if (size := path.stat().st_size) >= MAX_BYTES:
        faults.append(f"{size / 1e6:.1f} MB; keep it under {MAX_BYTES / 1e6:.1f} MB")
    text = path.read_text()
    notebook = _read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if (n := sum(map(_tagged, code))) != 1:
        faults.append(f"{n} code cells are tagged parameters; exactly one should be")
    for line in "\n".join(c.source for c in code if _tagged(c)).splitlines():
        if line.count("=") > 1:
            faults.append(f"papermill cannot read the parameter line {line!r}: one '=' a line")
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        faults.append(f"execution counts {counts} are not 1 to {len(code)}; run `make refresh`")
    for position, cell in enumerate(code, start=1):
        if "injected-parameters" in cell.metadata.get("tags", []):
            faults.append(f"In [{position}] was injected by papermill; run `make refresh`")
        for output in cell.outputs:
            if output.output_type == "error":
                faults.append(f"In [{position}] holds an error: {output.ename}: {output.evalue}")
            elif _fleeting(output):
                faults.append(f"In [{position}] holds a widget or stderr; run `make refresh`")
    if home := _HOME.search(text):
        faults.append(f"it names a folder of one machine: {home.group()}")
    return faults


# -- verifying ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """One CSV table, committed against regenerated; `difference` is None where they agree."""

    name: str
    difference: str | None


def compare_tables(committed: Path, regenerated: Path, partial: bool = False) -> list[Comparison]:
    """Compare the CSV tables of two folders byte for byte.

    Parameters
    ----------
    committed, regenerated : Path
        The two folders; CSV files in sub-folders count.
    partial : bool
        Only some notebooks ran: a committed table that was not made again is no difference.
    """
    old, new = (
        {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.csv")}
        for folder in (committed, regenerated)
    )
    names = sorted(new.keys() if partial else old.keys() | new.keys())
    return [Comparison(name, _difference(old.get(name), new.get(name))) for name in names]


def _difference(old: bytes | None, new: bytes | None) -> str | None:
    if old == new:
        return None
    if old is None:
        return "not committed"
    if new is None:
        return "not made again"
    before, after = (b.decode(errors="replace").splitlines(keepends=True) for b in (old, new))
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    lines = (repr(side[same]) if same < len(side) else "no line" for side in (before, after))
    return "line {}: committed {}, now {}".format(same + 1, *lines)


def verify(
    notebooks: Iterable[Path], profile_file: Path, jobs: int | str | None, partial: bool
) -> bool:
    """Run notebooks with an empty cache in a scratch folder and compare the tables they make.

    Returns
    -------
    bool
        Whether every table equals the committed one, and there is at least one.
    """
    profile = profile_file.stem
    committed = figures_dir(profile)
    scratch = ROOT / "build" / "verify" / profile
    shutil.rmtree(scratch, ignore_errors=True)
    os.environ["FIGURES_DIR"] = str(scratch / "figures")
    os.environ["CACHE_DIR"] = str(scratch / "cache")
    for notebook in notebooks:
        run_notebook(notebook, profile_file, scratch / notebook.name, {}, jobs)
    results = compare_tables(committed, figures_dir(profile), partial)
    for result in results:
        print(f"{'ok' if result.difference is None else 'differs':8}{result.name}")
        if result.difference:
            print(f"        {result.difference}")
    if not results:
        print(f"The notebooks made no table, and {committed} holds none.")
    return bool(results) and all(result.difference is None for result in results)


# -- command line ------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib.run", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, notebooks: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("notebooks", nargs=notebooks, type=Path, help="notebooks/NN_title.ipynb")
        return sub

    one = command("notebook", "execute notebooks into build/PROFILE/", "+")
    check = command("verify", "run from nothing in a scratch folder and compare the tables", "*")
    for sub in (one, check):
        sub.add_argument("--profile", default="sample", help="profiles/NAME.yaml (%(default)s)")
        sub.add_argument(
            "--jobs",
            type=yaml.safe_load,
            help="worker processes, or a Dask scheduler's address, where a notebook has `JOBS`",
        )
    one.add_argument("--output", type=Path, help="folder of the executed copy (build/PROFILE)")
    one.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="one more parameter, YAML"
    )
    command("refresh", "store the outputs of build/sample/ in notebooks/, to be committed", "*")
    command("lint-notebooks", "check that notebooks are fit to be committed", "*")
    return parser


def _overrides(settings: list[str]) -> dict[str, object]:
    """Parse ``name=value`` settings; values are YAML, so 3 is a number and [1, 2] a list."""
    for setting in settings:
        if "=" not in setting:
            raise ValueError(f"--set {setting}: expected NAME=VALUE")
    return {name: yaml.safe_load(value) for name, value in (s.split("=", 1) for s in settings)}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status (0 fine, 1 a check or a notebook failed)."""
    options = _parser().parse_args(arguments)
    every = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    notebooks = options.notebooks or every
    try:
        if absent := [path for path in notebooks if not path.is_file()]:
            raise FileNotFoundError(f"No notebook {absent[0]}; see: ls notebooks")
        if options.command == "notebook":
            profile_file = ROOT / "profiles" / f"{options.profile}.yaml"
            folder = options.output or ROOT / "build" / options.profile
            for path in notebooks:
                overrides = _overrides(options.set)
                run_notebook(path, profile_file, folder / path.name, overrides, options.jobs)
        elif options.command == "verify":
            profile_file = ROOT / "profiles" / f"{options.profile}.yaml"
            partial = {p.resolve() for p in notebooks} != set(every)
            return 0 if verify(notebooks, profile_file, options.jobs, partial) else 1
        elif options.command == "refresh":
            for path in notebooks:
                refresh(path, ROOT / "build" / "sample" / path.name)
                print(f"refreshed {path.name}")
        else:
            faults = [f"{path.name}: {fault}" for path in notebooks for fault in hygiene(path)]
            print("\n".join(faults) or f"{len(notebooks)} notebooks are fit to be committed")
            return 1 if faults else 0
    except (NotebookError, ValueError, FileNotFoundError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
