"""The one front door: ``python -m lib {run,refresh,verify,data,train} --help``."""

import argparse
import sys
from pathlib import Path

from lib.paths import ROOT, data_dir


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    run = command("run", "execute notebooks into build/PROFILE/")
    verify = command("verify", "run from nothing in a scratch folder and compare the tables")
    refresh = command("refresh", "store the outputs of build/sample/ in notebooks/")
    for one in (run, verify, refresh):
        one.add_argument("notebooks", nargs="*", type=Path, help="notebooks/NN_title.ipynb")
    for one in (run, verify):
        one.add_argument("--profile", default="sample", help="sample, or a file of profiles/")
        one.add_argument("--jobs", help="worker processes, or a Dask scheduler's address")
    run.add_argument("--output", type=Path, help="folder of the executed copy")
    more = {"action": "append", "default": [], "metavar": "NAME=VALUE"}
    run.add_argument("--set", **more, help="one more parameter; the value is YAML")
    data = command("data", "say which data sets are here, and fetch what is missing")
    data.add_argument("--profile", default="open", help="sample or open")
    train = command("train", "train one of the project's models, or resume its training")
    train.add_argument("model", nargs="?", help="without it, the names are listed")
    train.add_argument("--card", action="store_true", help="train nothing: measure it again")
    return parser


def _notebooks(options: argparse.Namespace) -> int:
    from lib import run

    every = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    notebooks = options.notebooks or every
    if absent := [path for path in notebooks if not path.is_file()]:
        raise FileNotFoundError(f"No notebook {absent[0]}; see: ls notebooks")
    if options.command == "refresh":
        for path in notebooks:
            run.refresh(path, ROOT / "build" / "sample" / path.name)
        return 0
    jobs = run.read_yaml(options.jobs) if options.jobs else None
    if options.command == "verify":
        partial = {p.resolve() for p in notebooks} != set(every)
        return 0 if run.verify(notebooks, options.profile, jobs, partial) else 1
    if bad := [setting for setting in options.set if "=" not in setting]:
        raise ValueError(f"--set {bad[0]}: expected NAME=VALUE")
    pairs = (setting.split("=", 1) for setting in options.set)
    folder = options.output or ROOT / "build" / options.profile
    overrides = {name: run.read_yaml(value) for name, value in pairs}
    run.run(notebooks, options.profile, folder, overrides, jobs)
    return 0


def _data(options: argparse.Namespace) -> int:
    from importlib import import_module

    from lib.data.download import DownloadError

    failed = 0
    for name in {"open": ("osie", "biq2021", "sacid")}.get(options.profile, ()):
        source, folder = import_module(f"lib.data.{name}").SOURCE, data_dir() / name
        faults = source.faults(folder)
        print(f"{name:10}{'here' if not faults else f'{len(faults)} files to get':24}{folder}")
        try:
            source.fetch(folder)
        except DownloadError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    return 1 if failed else 0


def _train(options: argparse.Namespace) -> int:
    from lib import weights

    if options.model not in weights.MODELS:
        raise ValueError(f"no model {options.model}; there are {', '.join(weights.MODELS)}")
    if not options.card:
        weights.make(options.model)
    print(weights.write_card(options.model))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status (0 fine, 1 failed, 130 stopped)."""
    options = _parser().parse_args(arguments)
    try:
        work = {"data": _data, "train": _train}.get(options.command, _notebooks)
        return work(options)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
