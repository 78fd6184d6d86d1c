"""Fetch the public data sets: what is here, what is missing, and how it gets here.

A source is an archive and what must come out of it: a manifest of its files (``sha256sum``'s
format; "-" where a hash is not known) or, where nobody published one, how many there are of which
size. It is unpacked into a scratch folder, every file is checked, and the folder gets its name in
one step: nothing half-written is ever seen under it. Downloads don't resume: GitHub sends archives
in chunks, without length or ranges, so no client can.
"""

import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pooch
from PIL import Image

MANIFESTS = Path(__file__).parent / "manifests"
PNG, JPEG, HDF5 = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\x89HDF\r\n\x1a\n"
SIGNATURES = {".png": PNG, ".jpg": JPEG, ".bmp": b"BM", ".mat": b"MATLAB", ".h5": HDF5}
PYIQA = "https://huggingface.co/datasets/chaofengc/IQA-PyTorch-Datasets (and -Datasets-metainfo)"


class DownloadError(Exception):
    """Something could not be fetched or is not what it should be; the message says the mend."""


def on_disk(path: Path, profile: str = "open") -> Path:
    """Return the path of a file or folder that `make data` gets, or say how to get it."""
    if not path.exists():
        mend = f"run `make data PROFILE={profile}`, or point DATA_DIR at the data sets"
        raise FileNotFoundError(f"{path} is not there; {mend}")
    return path


@dataclass(frozen=True)
class Source:
    """Where a data set, or a part of it, comes from."""

    url: str  # a zip archive or one file, https or Drive; "pyiqa:NAME": pyiqa's downloader knows it
    about: str  # size of the download
    # Start of a path in the archive (or below its top) -> in ours; "": what comes is the file.
    files: Mapping[str, str]
    omit: str = ""  # part of a path that is not wanted all the same
    limit_mb: int = 0  # refuse to unpack more than this
    manifest: str = ""  # file of `MANIFESTS`, or none, and then:
    # pattern -> how many files, and the width and height of each ("()": they differ, or no picture)
    counts: Mapping[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    digest: str = ""  # of the download, where one is published: "md5:..." or "sha256:..."
    terms: str = "see its page"  # licence, as its page says it
    page: str = ""  # where a person gets it by hand

    def faults(self, folder: Path) -> list[str]:
        """Say of each file of the data set in `folder` what is wrong with it."""
        found, manifest = [], MANIFESTS / self.manifest
        lines = manifest.read_text(encoding="utf-8").splitlines() if self.manifest else []
        for digest, name in (line.split("  ", 1) for line in lines):
            path = folder / name
            if not path.is_file():
                found.append(f"{name} is missing")
            elif digest == "-":
                found += _misfit(path, ())
            elif digest != pooch.file_hash(path):
                found.append(f"{name} is not the published file")
        for pattern, (count, size) in self.counts.items():
            paths = sorted(folder.glob(pattern))
            found += [f"{pattern}: {len(paths)} files, not {count}"] * abs(count - len(paths))
            found += (fault for path in paths for fault in _misfit(path, size))
        return found

    def fetch(self, folder: Path) -> None:
        """Get the archive unpacked, or the file, as `folder`; on an error what was there stays."""
        scratch = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            scratch.mkdir(parents=True)
            self._get(scratch, scratch / "files")
            if faults := self.faults(scratch / "files"):
                raise ValueError(f"{len(faults)} files are not as expected: {faults[0]}")
            shutil.rmtree(folder, ignore_errors=True)
            (scratch / "files").replace(folder)
        except Exception as error:  # the libraries that fetch raise what they like
            reason = " ".join(str(error).split()) or type(error).__name__
            names = ", ".join(self.counts)
            hand = f", or put what {self.page} offers there, as {names}" if self.page else ""
            what = f"{self.url} could not be fetched into {folder} ({reason})"
            mend = f"see to the network and the disk ({self.about}), and run the command again"
            raise DownloadError(f"{what}; {mend}{hand}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _get(self, scratch: Path, files: Path) -> None:
        """Fill the folder `files`, by the means that the address asks for."""
        if self.url.startswith("pyiqa:"):
            from pyiqa.data.dataset_api import load_dataset  # two seconds

            load_dataset(self.url.removeprefix("pyiqa:"), scratch / "all")
            for name in self.files:
                if (got := scratch / "all" / name).exists():
                    (files / name).parent.mkdir(parents=True, exist_ok=True)
                    got.rename(files / name)
            return
        archive = scratch / (name := "archive.zip")
        if self.url.startswith("https://drive.google.com/"):
            import gdown

            gdown.download(self.url, str(archive), use_cookies=False)
        else:
            where = {"registry": {name: None}, "urls": {name: self.url}}
            get = pooch.HTTPDownloader(progressbar=True, timeout=60)
            pooch.create(scratch, "", **where, retry_if_failed=3).fetch(name, downloader=get)
        kind, _, digest = self.digest.partition(":")
        if digest and pooch.file_hash(archive, kind) != digest:
            raise ValueError(f"what came is not the published file: its {kind} differs")
        if "" in self.files:
            files.mkdir()
            archive.rename(files / self.files[""])
        else:
            self._unpack(archive, files)

    def _unpack(self, archive: Path, folder: Path) -> None:
        """Extract the wanted files; `ZipFile` itself drops drives, links and steps upwards."""
        with zipfile.ZipFile(archive) as zipped:
            wanted = []
            for member in zipped.infolist():
                whole, below = member.filename, member.filename.partition("/")[2]
                pairs = ((name, start) for name in (whole, below) for start in self.files)
                name, start = next((p for p in pairs if p[0].startswith(p[1])), ("", ""))
                if start and not member.is_dir() and not (self.omit and self.omit in name):
                    member.filename = self.files[start] + name.removeprefix(start)
                    wanted.append(member)
            if sum(member.file_size for member in wanted) > self.limit_mb * 1e6:
                raise ValueError(f"it unpacks to more than {self.limit_mb} MB: refused")
            zipped.extractall(folder, wanted)


def _misfit(path: Path, size: tuple[int, ...]) -> list[str]:
    """Say what a file's first bytes tell against it: its kind or, if one is given, its size."""
    with path.open("rb") as file:
        kind = SIGNATURES.get(path.suffix.lower(), b"")
        start = file.read(8)
        if not start.startswith(kind) or start[:1] in (b"", b"<"):  # nothing, or a web page
            return [f"{path.name} is no {path.suffix} file"]
    if not size:
        return []
    try:
        with Image.open(path) as picture:  # reads the header alone
            return [] if picture.size == size else [f"{path.name} is {picture.size}, not {size}"]
    except OSError:
        return [f"{path.name} is no picture"]
