"""Fetch the public data sets: `python -m lib.data.download --profile open`.

Every data set is one zip archive and a manifest of the files that must come out of it, both named
in `sources.yaml`. Whatever interrupts the work (a broken line, a full disk, `kill -9`), the same
command goes on from there, and no file that can be seen under its own name is ever half written:
bytes arrive in `<file>.part`, which is renamed when it is whole.
"""

import argparse
import contextlib
import errno
import hashlib
import shutil
import stat
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import requests
import yaml
from requests.adapters import HTTPAdapter
from tqdm.auto import tqdm

from lib.paths import data_dir

SOURCES = Path(__file__).with_name("sources.yaml")
STAMP = ".complete"  # in the folder of a data set that was found whole
CHUNK = 2**16  # bytes; what a broken connection may cost
BUSY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that pass
SIGNATURES = {".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff"}
AGAIN = "run the same command again to go on"


class DownloadError(Exception):
    """Something could not be fetched or is not what it should be; the message says the mend."""


class DamagedArchiveError(DownloadError):
    """An archive is broken, unsafe, or not the one that was expected."""


class _InterruptedError(Exception):
    """A fault that may pass; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


# -- one file ------------------------------------------------------------------------------------


def download(
    url: str,
    path: str | Path,
    sha256: str | None = None,
    size: int | None = None,
    *,
    md5: str | None = None,
    attempts: int = 5,
    backoff: float = 1.0,
    timeout: float = 60.0,
    allow_local_http: bool = False,
) -> Path:
    """Fetch `url` into `path`, unless the right file is there already.

    Parameters
    ----------
    url : str
        An https address; redirects must stay on https.
    path : str or Path
        The file to make. Unfinished bytes wait in `<path>.part`, where the next call resumes.
    sha256, md5 : str, optional
        Checksum of the whole file, hex. `md5` is for sources that publish nothing better.
    size : int, optional
        Its length in bytes.
    attempts : int
        Faults in a row, without one new byte, after which to give up.
    backoff : float
        Seconds before the second attempt; doubled for each one after, a minute at most.
    timeout : float
        Seconds of silence after which a connection counts as broken.
    allow_local_http : bool
        Let `http://127.0.0.1` pass as well (a server that a test starts).

    Returns
    -------
    Path
        `path`, whole and checked.

    Raises
    ------
    DownloadError
        If the file cannot be had (the server refuses, keeps failing, sends a web page) or is not
        the one expected, or the disk is full. What arrived stays unless it is wrong.
    ValueError
        If `url` is not https.
    """
    path = Path(path)
    session = _session(url, allow_local_http)
    if path.is_file() and _fault(path, sha256, md5, size) is None:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    furthest = _size(part)
    failures = restarts = 0
    resumed = False
    with session:
        while True:
            resumed = resumed or _size(part) > 0
            try:
                _receive(session, url, path, part, size, timeout)
            except _InterruptedError as error:
                failures = 1 if _size(part) > furthest else failures + 1
                furthest = max(furthest, _size(part))
                if failures >= attempts:
                    raise DownloadError(
                        f"{url} failed {attempts} times in a row ({error}); {AGAIN}, "
                        f"or download it by hand to {path}"
                    ) from error
                pause = backoff * 2 ** (failures - 1) if error.wait is None else error.wait
                pause = min(pause, 60.0)
                tqdm.write(f"{path.name}: {error}; trying again in {pause:.0f} s", file=sys.stderr)
                time.sleep(pause)
                continue
            fault = _fault(part, sha256, md5, size)
            if fault is None:
                part.replace(path)
                return path
            part.unlink()
            # The first bytes may be those of an older version of the file: once, start afresh.
            if not resumed or restarts:
                raise DownloadError(
                    f"what {url} sent for {path} {fault}; {AGAIN}, or download it by hand to "
                    f"{path} if it keeps coming wrong"
                )
            furthest, restarts, resumed = 0, 1, False


def _receive(
    session: requests.Session, url: str, path: Path, part: Path, size: int | None, timeout: float
) -> None:
    """Ask for what `part` lacks and append it; return when the server has sent all it has."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"}  # a compressed body would have another length
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code == 416 and have:
                if response.headers.get("Content-Range") == f"bytes */{have}":
                    return  # nothing is left to fetch
                part.unlink()
                raise _InterruptedError(f"the server has nothing beyond byte {have}", wait=0)
            _require_content(response, url, path)
            if response.status_code == 200:  # from the start, asked for or not
                have = 0
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.unlink()
                raise _InterruptedError("the server sent another range than asked for", wait=0)
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdigit() else None
            if None not in (size, total) and total != size:
                raise DownloadError(
                    f"{url} offers {total} bytes where {path} has {size}: the file has changed; "
                    f"update its size and checksum, or download the old one by hand to {path}"
                )
            _save(response, url, path, part, have, size if total is None else total)
            if total is not None and _size(part) < total:
                raise _InterruptedError(f"it ended after {_size(part)} of {total} bytes")
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise _InterruptedError(_root_cause(error)) from error
    except requests.exceptions.InvalidSchema as error:
        raise DownloadError(
            f"{url} leads to an address that is not https; download it by hand to {path}"
        ) from error
    except requests.RequestException as error:
        raise DownloadError(
            f"{url} cannot be fetched ({error}); download it by hand to {path}"
        ) from error


def _require_content(response: requests.Response, url: str, path: Path) -> None:
    """Let pass an answer that carries the file (or a part of it)."""
    code = response.status_code
    if code in BUSY:
        wait = response.headers.get("Retry-After", "")
        raise _InterruptedError(f"HTTP {code}", float(wait) if wait.isdigit() else None)
    if code not in (200, 206):
        raise DownloadError(
            f"{url} answered HTTP {code} {response.reason}; look for the file's new address, and "
            f"download it by hand to {path}"
        )
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise _web_page(url, path)


def _save(
    response: requests.Response, url: str, path: Path, part: Path, have: int, total: int | None
) -> None:
    """Write the body after the first `have` bytes of `part`; `total` bytes are expected."""
    bar = tqdm(total=total, initial=have, desc=path.name, unit="B", unit_scale=True)
    mend = f"what arrived is kept in {part}; free some space, then {AGAIN}"
    with bar, _full_disk(part, mend), part.open("ab" if have else "wb") as file:
        for chunk in response.iter_content(CHUNK):
            if not file.tell() and _is_web_page(chunk):
                raise _web_page(url, path)
            file.write(chunk)
            bar.update(len(chunk))
            if total is not None and file.tell() > total:
                return  # the check that follows says how it differs


def _fault(path: Path, sha256: str | None, md5: str | None, size: int | None) -> str | None:
    """Say what is wrong with a file, as the end of a sentence, or None if nothing is."""
    if size is not None and _size(path) != size:
        return f"holds {_size(path)} bytes, not {size}"
    for name, expected in {"sha256": sha256, "md5": md5}.items():
        if expected is not None and (found := _digest(path, name)) != expected.lower():
            return f"has the {name} {found}, not {expected}"
    if Path(path.name.removesuffix(".part")).suffix == ".zip" and not zipfile.is_zipfile(path):
        return "is not a whole zip archive"
    return None


def _session(url: str, allow_local_http: bool) -> requests.Session:
    """Return a session that can speak https only, so that no redirect leads out of it."""
    parts = urlsplit(url)
    session = requests.Session()
    del session.adapters["http://"]
    if allow_local_http and parts.scheme == "http" and parts.hostname == "127.0.0.1":
        session.mount(f"http://{parts.netloc}/", HTTPAdapter())
    elif parts.scheme != "https":
        raise ValueError(f"url must begin with https://, not {url!r}; give the secure address")
    return session


def _web_page(url: str, path: Path) -> DownloadError:
    return DownloadError(
        f"{url} answered with a web page instead of {path.name} (a login, a quota or a captive "
        f"portal); open it in a browser, save the file as {path}, and run the same command again"
    )


def _is_web_page(beginning: bytes) -> bool:
    return beginning.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


def _root_cause(error: BaseException) -> str:
    """Return what lies under the wrapping of requests and urllib3: 'Connection refused'."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__


@contextlib.contextmanager
def _full_disk(path: Path, mend: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(f"the disk is full: cannot write {path}; {mend}") from error


# -- one archive ---------------------------------------------------------------------------------


def unpack(
    archive: str | Path,
    folder: str | Path,
    members: Mapping[str, str] | None = None,
    limit: int = 4 * 2**30,
) -> int:
    """Unpack a zip archive, writing only the files that `folder` does not hold already.

    Each file appears whole or not at all, so a killed call is simply made again. Files that lie
    deeper come first: the tables at the top of a data set, without which no loader opens it, are
    there only once its images are.

    Parameters
    ----------
    archive : str or Path
        The zip file.
    folder : str or Path
        Where to put the files; nothing is written outside it.
    members : mapping of str to str, optional
        Name in the archive -> path under `folder`. Everything, under its own name, without it.
    limit : int
        The most bytes that the files may hold together, unpacked.

    Returns
    -------
    int
        How many files were written.

    Raises
    ------
    DamagedArchiveError
        If the archive is broken or lacks a member; if a member would leave `folder`, is a link
        or a device, or is encrypted; or if the files exceed `limit`. All but broken contents is
        found before anything is written.
    DownloadError
        If the disk is full.
    """
    archive, folder = Path(archive), Path(folder)
    mend = f"free some space, then {AGAIN}"
    with _opened(archive) as bundle:
        targets = _targets(bundle, archive, members)
        total = sum(info.file_size for info, _ in targets)
        if total > limit:
            raise DamagedArchiveError(
                f"{archive} would unpack to {total} bytes, more than the {limit} allowed; "
                "delete it and download it again, or raise the limit if it is right"
            )
        targets.sort(key=lambda item: -len(item[1].parts))
        # No more bytes than declared are ever read; where there are more, the CRC tells.
        written = 0
        for info, relative in tqdm(targets, desc=f"unpack {archive.name}", unit="file"):
            target = folder / relative
            if target.is_file() and _is_member(target, info):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            with (
                _full_disk(target, mend),
                bundle.open(info) as source,
                part.open("wb") as file,
            ):
                shutil.copyfileobj(source, file)
            part.replace(target)
            written += 1
        return written


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as bundle:
            yield bundle
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DamagedArchiveError(
            f"{archive} is damaged ({error}); delete it and download it again"
        ) from error


def _targets(
    bundle: zipfile.ZipFile, archive: Path, members: Mapping[str, str] | None
) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Pair the members to unpack with their paths, all of them safe."""
    files = {info.filename: info for info in bundle.infolist() if not info.is_dir()}
    if members is None:
        members = {name: name for name in files}
    targets = []
    for name, relative in members.items():
        if name not in files:
            raise DamagedArchiveError(
                f"{archive} has no {name!r}: it is not the archive expected; delete it and "
                "download it again"
            )
        info, path = files[name], PurePosixPath(relative)
        outside = path.is_absolute() or ".." in path.parts or not path.parts
        if outside or any(c in relative for c in "\\:\0"):  # the last for Windows' sake
            reason = "would be written outside its folder"
        elif stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            reason = "is a link or a device"
        elif info.flag_bits & 1:
            reason = "is encrypted"
        else:
            targets.append((info, path))
            continue
        raise DamagedArchiveError(
            f"{archive} is not safe to unpack: its member {name!r} {reason}; delete it and get it "
            "from a source that you trust"
        )
    return targets


def _is_member(path: Path, info: zipfile.ZipInfo) -> bool:
    """Tell whether a file holds what the archive's index says of a member."""
    if _size(path) != info.file_size:
        return False
    crc = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            crc = zlib.crc32(block, crc)
    return crc == info.CRC


# -- one data set --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """One entry of `sources.yaml`, whose head explains the fields."""

    name: str
    url: str
    about: str
    limit_mb: int
    files: dict[str, str]
    manifest: Path
    allow_local_http: bool = False

    def expected(self) -> dict[str, str]:
        """Return path under the data set's folder -> sha256, or "-" where it is not known."""
        lines = self.manifest.read_text(encoding="utf-8").splitlines()
        return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}

    def members(self, archive: Path) -> dict[str, str]:
        """Return name in the archive -> path under the folder, for every file expected."""
        expected = self.expected()
        with _opened(archive) as bundle:
            names = [info.filename for info in bundle.infolist() if not info.is_dir()]
        found = {}
        for name in names:
            inner = name.partition("/")[2]  # GitHub puts everything into <repository>-<commit>/
            for prefix, target in self.files.items():
                if inner == prefix or (prefix.endswith("/") and inner.startswith(prefix)):
                    path = target + inner.removeprefix(prefix)
                    if path in expected:
                        found[name] = path
        lacking = sorted(set(expected) - set(found.values()))
        if lacking:
            raise DamagedArchiveError(
                f"{self.url} lacks {len(lacking)} of the {len(expected)} files of {self.name} "
                f"({lacking[0]}, ...): its authors may have changed it; compare it with "
                f"{self.manifest}"
            )
        return found


@dataclass(frozen=True)
class Verification:
    """What was found on disk of one data set.

    Attributes
    ----------
    name, folder : str, Path
        The data set and where it was looked for.
    present : int
        Files that are there and right.
    missing, corrupt : tuple of str
        Paths under `folder` that are not there, or not as published.
    hashed : bool
        Whether contents were compared by sha256; if not, only names and kinds of file were.
    """

    name: str
    folder: Path
    present: int
    missing: tuple[str, ...]
    corrupt: tuple[str, ...]
    hashed: bool

    @property
    def complete(self) -> bool:
        """Whether every file is there and right."""
        return not self.missing and not self.corrupt

    def __str__(self) -> str:
        total = self.present + len(self.missing) + len(self.corrupt)
        by = "sha256" if self.hashed else "names and file types; no checksums are known"
        first = f"; first: {(self.corrupt + self.missing)[0]}" if not self.complete else ""
        return (
            f"{self.name}: {self.present} of {total} files right, {len(self.missing)} missing, "
            f"{len(self.corrupt)} corrupt (checked by {by}) in {self.folder}{first}"
        )


def read_sources(path: Path = SOURCES) -> tuple[dict[str, Source], dict[str, list[str]]]:
    """Read the data sets by name, and the names that each profile needs."""
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    sources = {}
    for name, fields in content["datasets"].items():
        manifest = Path(path).parent / fields.pop("manifest")
        sources[name] = Source(name=name, manifest=manifest, **fields)
    return sources, content["profiles"]


def fetch(name: str, root: str | Path, sources: Mapping[str, Source] | None = None) -> str:
    """Bring a data set into `root`/`name`, unless it is there, and check every file.

    A data set that was found whole before, and whose files have kept their sizes and times, is
    taken as it is. Files that are there and right are not written again.

    Parameters
    ----------
    name : str
        A data set of `sources.yaml`.
    root : str or Path
        The folder of all data sets (``DATA_DIR``).
    sources : mapping of str to Source, optional
        Other definitions than those of `sources.yaml`.

    Returns
    -------
    str
        One line: what was checked, and how.

    Raises
    ------
    DownloadError
        If the data set cannot be had whole.
    ValueError
        If `name` is unknown.
    """
    source = _source(name, sources)
    folder = Path(root) / name
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text() == _state(source, folder):
        return f"{name}: complete in {folder} (unchanged since it was last checked)"
    found = _inspect(source, folder)
    if not found.complete:
        archive = Path(root) / f"{name}.zip"
        wanted = len(found.missing) + len(found.corrupt)
        tqdm.write(f"{name}: getting {wanted} files from {source.url} ({source.about})")
        download(source.url, archive, allow_local_http=source.allow_local_http)
        try:
            unpack(archive, folder, source.members(archive), source.limit_mb * 10**6)
            found = _inspect(source, folder)
            if not found.complete:
                raise DamagedArchiveError(
                    f"{source.url} is not the data set as published ({found}); {AGAIN}, and "
                    f"compare it with {source.manifest} if this stays"
                )
        except DamagedArchiveError:
            archive.unlink()  # so that the next run fetches it afresh
            raise
        archive.unlink()
    with contextlib.suppress(OSError):  # a read-only data set is hashed each time instead
        stamp.write_text(_state(source, folder))
    return str(found)


def verify(
    name: str,
    root: str | Path,
    allow_missing: bool = False,
    sources: Mapping[str, Source] | None = None,
) -> Verification:
    """Read every file of a data set again and compare it with the manifest.

    Parameters
    ----------
    name, root, sources
        As for `fetch`.
    allow_missing : bool
        Accept a subset: files that are missing are counted, not complained of.

    Raises
    ------
    DownloadError
        If a file is corrupt, or missing and `allow_missing` is false.
    ValueError
        If `name` is unknown.
    """
    found = _inspect(_source(name, sources), Path(root) / name)
    if found.corrupt or (found.missing and not allow_missing):
        raise DownloadError(f"{found}; fetch it again: python -m lib.data.download --only {name}")
    return found


def _source(name: str, sources: Mapping[str, Source] | None) -> Source:
    sources = read_sources()[0] if sources is None else sources
    if name not in sources:
        raise ValueError(f"unknown data set {name!r}; choose one of {sorted(sources)}")
    return sources[name]


def _inspect(source: Source, folder: Path) -> Verification:
    expected = source.expected()
    missing = [path for path in expected if not (folder / path).is_file()]
    here = [path for path in expected if path not in set(missing)]
    bar = tqdm(here, f"check {source.name}", unit="file", leave=False, disable=not here)
    corrupt = [path for path in bar if not _is_right(folder / path, expected[path])]
    return Verification(
        name=source.name,
        folder=folder,
        present=len(here) - len(corrupt),
        missing=tuple(missing),
        corrupt=tuple(corrupt),
        hashed="-" not in expected.values(),
    )


def _is_right(path: Path, digest: str) -> bool:
    if digest != "-":
        return _digest(path, "sha256") == digest
    with path.open("rb") as file:
        # Without a checksum: not empty, and an image where one should be (no Git LFS pointer).
        return file.read(16).startswith(SIGNATURES.get(path.suffix, b"")) and _size(path) > 0


def _state(source: Source, folder: Path) -> str:
    """Digest the manifest with the size and time of every file, without reading them."""
    digest = hashlib.sha256(source.manifest.read_bytes())
    for path in source.expected():
        with contextlib.suppress(FileNotFoundError):
            status = (folder / path).stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


# -- the command ---------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch (or only check) the data sets of a profile; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.data.download",
        description="Download the public data sets of a profile: resumes, checks every file, and "
        "leaves alone what is already there.",
    )
    parser.add_argument("--profile", default="open", help="whose data sets (default: open)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these of the profile's data sets"
    )
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where to (default: DATA_DIR, or data/)"
    )
    parser.add_argument(
        "--verify", action="store_true", help="download nothing; read every file and check it"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="with --verify: accept a subset"
    )
    parser.add_argument(
        "--sources", type=Path, default=SOURCES, metavar="FILE", help="another sources.yaml"
    )
    options = parser.parse_args(arguments)
    root = data_dir() if options.data_dir is None else options.data_dir.expanduser()
    try:
        sources, profiles = read_sources(options.sources)
        names = _chosen(profiles, options.profile, options.only)
    except (OSError, ValueError) as error:
        return _complain(error)
    if not names:
        print(f"The profile {options.profile} needs no download.")
    status = 0
    for name in names:  # one that fails does not keep the others back
        try:
            if options.verify:
                print(verify(name, root, options.allow_missing, sources))
            else:
                print(fetch(name, root, sources))
        except (DownloadError, OSError, ValueError) as error:
            status = _complain(error)
        except KeyboardInterrupt:
            print(f"Interrupted; {AGAIN}.", file=sys.stderr)
            return 130
    return status


def _chosen(profiles: Mapping[str, list[str]], profile: str, only: list[str] | None) -> list[str]:
    if profile not in profiles:
        raise ValueError(
            f"no data sets are defined for the profile {profile!r}; choose one of "
            f"{sorted(profiles)}"
        )
    for name in only or []:
        if name not in profiles[profile]:
            raise ValueError(
                f"--only {name} is not a data set of the profile {profile!r}; choose from "
                f"{profiles[profile]}"
            )
    return only or profiles[profile]


def _complain(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
