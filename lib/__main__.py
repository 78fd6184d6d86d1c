"""The one front door: ``python -m lib {run,refresh,verify,data,train,try} --help``."""

import argparse
import logging
import os
import sys
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

from lib.jobs import is_jobs
from lib.paths import ROOT, data_dir

NEEDED = {  # the data sets of each profile that has some
    "open": ("osie", "scene", "biq2021", "sacid"),
    "paper": ("salicon", "cat2000", "koniq", "clive", "sacid", "checkpoints"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    texts = {
        "run": "execute notebooks into build/PROFILE/",
        "refresh": "store the outputs of build/sample/ in notebooks/",
        "verify": "run from nothing in a scratch folder and compare the tables",
        "data": "say which data sets are here, and fetch what is missing",
        "train": "train one of the project's models, or resume its training",
        "try": "judge your own pictures: a contact sheet and tables (notebook 06)",
    }
    of = {name: commands.add_parser(name, help=t, description=t) for name, t in texts.items()}
    for name in ("run", "refresh", "verify"):
        of[name].add_argument("notebooks", nargs="*", type=Path, help="notebooks/NN_title.ipynb")
    for name, default in (("run", "sample"), ("verify", "sample"), ("data", "open")):
        of[name].add_argument("--profile", default=default, help="sample, or a file of profiles/")
    for name in ("run", "verify"):
        of[name].add_argument("--jobs", help="worker processes, or a Dask scheduler's address")
    of["run"].add_argument("--output", type=Path, help="folder of the executed copy")
    more = {"action": "append", "default": [], "metavar": "NAME=VALUE"}
    of["run"].add_argument("--set", **more, help="one more parameter; the value is YAML")
    of["try"].add_argument("folder", type=Path, help="pictures and films, in folders or not")
    of["try"].add_argument("--output", type=Path, help="default: build/try/NAME-OF-THE-FOLDER")
    of["try"].add_argument("--strict", action="store_true", help="name bad files and stop there")
    of["train"].add_argument("model", nargs="?", help="without it, the names are listed")
    return parser


def _notebooks(options: argparse.Namespace) -> bool:
    from lib import run, settings

    every = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    notebooks = options.notebooks or every
    if absent := [path for path in notebooks if not path.is_file()]:
        raise FileNotFoundError(f"No notebook {absent[0]}; see: ls notebooks")
    if options.command == "refresh":
        for path in notebooks:
            run.refresh(path, ROOT / "build" / "sample" / path.name)
        return True
    jobs = settings.read_yaml(options.jobs, "--jobs") if options.jobs else None
    if jobs is not None and not is_jobs(jobs):
        known = "a number but 0, local:8, or a scheduler's address, tcp://host:8786"
        raise ValueError(f"--jobs {options.jobs}: give {known}")
    if options.command == "verify":
        partial = {p.resolve() for p in notebooks} != set(every)
        return run.verify(notebooks, options.profile, jobs, partial)
    if bad := [setting for setting in options.set if "=" not in setting]:
        raise ValueError(f"--set {bad[0]}: expected NAME=VALUE")
    pairs = (setting.split("=", 1) for setting in options.set)
    overrides = {name: settings.read_yaml(value, f"--set {name}") for name, value in pairs}
    folder = options.output or ROOT / "build" / options.profile
    run.run(notebooks, options.profile, folder, overrides, jobs)
    return True


def _data(options: argparse.Namespace) -> bool:
    from lib.data.download import DownloadError

    if options.profile not in NEEDED:
        print(f"{options.profile} reads no data set; PROFILE is one of {', '.join(NEEDED)}")
        return options.profile == "sample" or (ROOT / f"profiles/{options.profile}.yaml").is_file()
    missing = {}
    for name in NEEDED[options.profile]:
        found = import_module(f"lib.data.{name}").SOURCE  # one, or one a part
        for part, source in found.items() if isinstance(found, dict) else [("", found)]:
            folder = data_dir() / name / part
            faults = len(source.faults(folder))
            state = f"{faults} files to get" if faults else "here"
            print(f"{name + ' ' + part:29}{state:24}{source.about:23}{source.terms:35}{folder}")
            missing |= {folder: source} if faults else {}
    whole = True
    for folder, source in missing.items():
        try:
            source.fetch(folder)
        except DownloadError as error:
            whole = False
            print(f"\nerror: {error}", file=sys.stderr)  # below a progress bar
    return whole


def _train(options: argparse.Namespace) -> bool:
    from lib import weights

    if options.model not in weights.MODELS:
        raise ValueError(f"no model {options.model or ''}; there are {', '.join(weights.MODELS)}")
    print(weights.make(options.model))
    return True


def _try(options: argparse.Namespace) -> bool:
    from lib import run
    from lib.data.folder import shown

    folder = options.folder.expanduser().resolve()
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder; give the one that holds the pictures")
    if shown(str(folder)) != str(folder):
        raise ValueError(f"{shown(str(folder))}: the name is no UTF-8; rename the folder")
    output = (options.output or ROOT / "build" / "try" / folder.name).expanduser().resolve()
    if output.is_relative_to(folder):
        raise ValueError(f"the results would lie among the pictures, in {output}; give --output")
    chosen = {"FOLDER": str(folder), "OUTPUT": str(output), "STRICT": options.strict}
    (notebook,) = (ROOT / "notebooks").glob("06_*.ipynb")
    run.execute(notebook, output / notebook.name, chosen, bar=False)
    print(f"notebook       {output / notebook.name}")
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status (0 fine, 1 failed, 130 stopped)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # terminals that have no arrows
            stream.reconfigure(errors="replace")
    try:
        options = _parser().parse_args(arguments)
        if options.command in ("data", "train"):  # the others leave torch to kernels
            import_module("lib._torchvision").ensure_torchvision_imports()
        works = {"data": _data, "train": _train, "try": _try}
        done = works.get(options.command, _notebooks)(options)
        print(end="", flush=True)  # a full disk or a closed pipe shows here at the latest
        return 0 if done else 1
    except BrokenPipeError:  # whoever read the output has seen enough
        return 141  # as of a process that SIGPIPE ends
    except KeyboardInterrupt:
        logging.disable()  # tasks that were cut short complain on the way out
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"\nerror: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    finally:
        try:
            print(end="", flush=True)
        except OSError:  # or Python would try once more on its way out, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
