"""Fetch the public data sets: what is here, what is missing, and how it gets here.

A data set is one zip archive and a manifest of the files that must come out of it (``sha256sum``'s
format; "-" where a hash is not known). It is unpacked into a scratch folder, every file is checked,
and the folder gets its name in one step: nothing half-written is ever seen under it. Downloads
don't resume: GitHub sends these archives in chunks, without length or ranges, so no client can.
"""

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch

MANIFESTS = Path(__file__).parent / "manifests"
SIGNATURES = {".png": b"\x89PNG\r\n\x1a\n", ".jpg": b"\xff\xd8\xff"}


class DownloadError(Exception):
    """Something could not be fetched or is not what it should be; the message says the mend."""


def on_disk(path: Path) -> Path:
    """Return the path of a file or folder that `make data` gets, or say how to get it."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there; run `make data PROFILE=open`, or point DATA_DIR at the data sets"
        )
    return path


@dataclass(frozen=True)
class Source:
    """Where a data set comes from."""

    url: str  # one zip archive, https
    about: str  # size of the download
    limit_mb: int  # refuse to unpack more than this
    files: Mapping[str, str]  # start of a path in the archive (below its top folder) -> in ours
    manifest: str  # file of `MANIFESTS`

    def expected(self) -> dict[str, str]:
        """Return every file of the data set with its sha256 ("-": not known)."""
        lines = (MANIFESTS / self.manifest).read_text(encoding="utf-8").splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines if line)}

    def faults(self, folder: Path) -> list[str]:
        """Say of each file of the data set in `folder` what is wrong with it."""
        found = []
        for name, digest in self.expected().items():
            path = folder / name
            if not path.is_file():
                found.append(f"{name} is missing")
                continue
            content, signature = path.read_bytes(), SIGNATURES.get(path.suffix.lower(), b"")
            if digest == "-" and not content.startswith(signature):
                found.append(f"{name} is no {path.suffix} file")
            elif digest not in ("-", hashlib.sha256(content).hexdigest()):
                found.append(f"{name} is not the published file")
        return found

    def fetch(self, folder: Path) -> None:
        """Download the archive and unpack it as `folder`, unless the files are there already.

        A DownloadError says why it can't be had; what was there before stays.
        """
        if not self.faults(folder):
            return
        scratch = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            scratch.mkdir(parents=True)
            archive, get = "archive.zip", pooch.HTTPDownloader(progressbar=True, timeout=60)
            where = {"registry": {archive: None}, "urls": {archive: self.url}}
            pooch.create(scratch, "", **where, retry_if_failed=3).fetch(archive, downloader=get)
            self._unpack(scratch / archive, scratch / "files")
            if faults := self.faults(scratch / "files"):
                raise DownloadError(
                    f"{len(faults)} files of {self.url} are not as expected: {faults[0]}; the "
                    "archive has changed or was cut short: run the command again"
                )
            shutil.rmtree(folder, ignore_errors=True)
            (scratch / "files").replace(folder)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise DownloadError(
                f"{self.url} could not be fetched into {folder} ({error}); free "
                f"{self.about} of disk, see to the network, and run the command again"
            ) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _unpack(self, archive: Path, folder: Path) -> None:
        """Extract the wanted files; `ZipFile` itself drops drives, links and steps upwards."""
        with zipfile.ZipFile(archive) as zipped:
            wanted = []
            for member in zipped.infolist():
                name = member.filename.partition("/")[2]  # below the top folder
                start = next((s for s in self.files if name.startswith(s)), None)
                if start and not member.is_dir():
                    member.filename = self.files[start] + name.removeprefix(start)
                    wanted.append(member)
            if sum(member.file_size for member in wanted) > self.limit_mb * 1e6:
                raise DownloadError(f"{self.url} unpacks to more than {self.limit_mb} MB: refused")
            zipped.extractall(folder, wanted)
