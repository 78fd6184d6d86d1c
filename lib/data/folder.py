"""Your own pictures and films: a folder, as people have folders, as a data set of images alone.

``data.load("folder", path="/my/pictures")`` walks the folder and those inside it. A picture is
known by its first bytes, not its ending; a film counts as a few of its frames. Each is decoded once
on opening, so that all that can't be used is known before a long computation starts.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from lib.images import AGAIN, foreign, read_image
from lib.records import Dataset, Record
from lib.store import fingerprint

FILMS = {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"}
LITTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}  # of systems, in lower case; and ".*"
AT_ONCE = min(4, os.cpu_count() or 1)  # pictures in memory while the folder is checked


class Folder(Dataset):
    """Every picture of a folder, and `frames` frames of every film, named by the path inside it.

    `digests` holds a digest of each record's content, `skipped` why a file can't be used, in a
    sentence; with `strict` these are one ValueError that names them all. Hidden files and systems'
    own (Thumbs.db) don't count. A folder that is not there is an OSError, one without a picture a
    ValueError.
    """

    kind = "own pictures, without labels"

    def __init__(
        self, root: Path, path: str | Path | None = None, strict: bool = False, frames: int = 5
    ):
        root = Path(path or root).expanduser()
        if frames < 1:
            raise ValueError(f"frames must be 1 or more of each film, not {frames}")
        if not root.is_dir():
            what = "is a file: give the folder it lies in" if root.exists() else "is not there"
            raise FileNotFoundError(f'{root} {what}: data.load("folder", path="/my/pictures")')
        self.name, self.skipped = shown(root.resolve().name) or "folder", {}
        files = dict(_walk(root, root, set(), self.skipped))  # shown name -> path
        # record name -> path, and the time of a film's frame
        self._places, self.digests, key = {}, {}, ["folder"]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda item: _look(*item, frames), files.items())
            bar = tqdm(found, f"checking {self.name}", len(files), unit="file", leave=False)
            for name, (places, digest, reason) in zip(files, bar, strict=True):
                self._places |= {record: (files[name], at) for record, at in places}
                self.digests |= {record: fingerprint([digest, at]) for record, at in places}
                self.skipped |= {name: reason} if reason else {}
                key += [(name, digest)] if digest else []
        self.names, self.fingerprint = list(self._places), fingerprint(key)
        self.skipped = dict(sorted(self.skipped.items()))
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in self.skipped.items())
        if strict and reasons:
            raise ValueError(f"{len(self.skipped)} files of {root} can't be used:{reasons}")
        if not self.names:
            raise ValueError(f"{root} has no picture that can be read{reasons and ':'}{reasons}")

    def __getitem__(self, index: int) -> Record:
        path, at = self._places[name := self.names[index]]
        return Record(name, read_image(path) if at is None else _frame(path, at)[1])


def shown(name: str) -> str:
    r"""Spell a file name so that it can be printed and stored: bytes that are no UTF-8 as \xe9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _walk(root: Path, folder: Path, seen: set, skipped: dict) -> Iterator[tuple[str, Path]]:
    """Yield the files of a folder and of those in it, sorted; links can't go in circles."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        name = shown(str(folder.relative_to(root)))
        skipped[name] = f"a folder that can't be listed ({error.strerror}); chmod u+rx"
        return
    seen.add(folder.resolve())
    for path in entries:
        name = shown(path.relative_to(root).as_posix())
        if path.name.startswith(".") or path.name.lower() in LITTER:
            continue
        if not path.is_dir():
            yield name, path
        elif path.suffix.lower() in Image.registered_extensions():
            skipped[name] = "a folder with a picture's ending; rename it and it is read"
        elif path.resolve() in seen:
            skipped[name] = "a link to a folder that is read already"
        else:
            yield from _walk(root, path, seen, skipped)


def _look(name: str, path: Path, frames: int) -> tuple[list, str, str]:
    """Decode a file: its records' names and times, and a digest; or why it can't be used."""
    try:
        if path.suffix.lower() not in FILMS:
            read_image(path)
            return [(name, None)], fingerprint([path.read_bytes()]), ""
        times, stat = _times(path, frames), path.stat()  # too long to digest
        digits = 1 if len({f"{t:.1f}" for t in times}) == len(times) else 3
        clock = [divmod(round(t, digits), 60) for t in times]
        names = [f"{name} @ {m:.0f}:{s:0{digits + 3}.{digits}f}" for m, s in clock]
        digest = f"{stat.st_size} {stat.st_mtime_ns} {times}"
        return list(zip(names, times, strict=True)), digest, ""
    except (ValueError, OSError) as error:
        return [], "", " ".join(str(error).replace(str(path), name).split())


def _times(path: Path, frames: int) -> list[float]:
    """Return the times, in seconds, of frames spread evenly over a film."""
    with _film(path) as (film, stream):
        tick, rate = float(stream.time_base or 0), float(stream.average_rate or 25)
        start, length = (stream.start_time or 0) * tick, (stream.duration or 0) * tick
        length = length or (film.duration or 0) / 1e6  # not every kind of file has the stream's
        if not length:  # nor that: a recording from a browser
            length = max((f.time for f in film.decode(stream)), default=0) - start + 1 / rate
    wanted = (start + (k + 0.5) / frames * length - 0.5 / rate for k in range(frames))
    return sorted({_frame(path, seconds)[0] for seconds in wanted})


def _frame(path: Path, seconds: float) -> tuple[float, np.ndarray]:
    """Decode the frame at a time: its own time, and HxWx3 uint8, upright."""
    with _film(path) as (film, stream):
        film.seek(max(0, int((seconds - 0.001) / stream.time_base)), stream=stream)
        found, rate = None, float(stream.average_rate or 25)
        for found in film.decode(stream):
            if found.time >= seconds - 1e-6:
                break
        if not found or found.is_corrupt or found.time + 1 / rate < seconds - 1e-3:
            raise ValueError(f"{path} is damaged at {seconds:.1f} s; {AGAIN}")
        image = np.rot90(found.to_ndarray(format="rgb24"), round(found.rotation / 90))
        return found.time, np.ascontiguousarray(image)


@contextmanager
def _film(path: Path) -> Iterator[tuple]:
    """Open a film and its first video stream; what goes wrong is a ValueError with the path."""
    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise ValueError(f"{path} has sound, but no pictures; leave it out")
            yield film, film.streams.video[0]
    except av.FFmpegError as error:
        what, mend = foreign(path) or (error.strerror, AGAIN)  # an OSError where it is locked
        raise ValueError(f"{path} is not a readable film ({what}); {mend}") from error


open = Folder  # what `data.load` calls
