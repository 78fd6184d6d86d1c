"""Results on disk: what every long computation shares.

Memoised results are one file an item (image, epoch, encode), written atomically: a killed run
loses at most the item in hand; a seal tells what was damaged since. The key of a `Store` holds all
that decides the numbers: the version of the code (an integer, raised by hand when numbers move;
`tests/golden.py` notices), the parameters, and the fingerprints of data and weights.
"""

import hashlib
import io
import json
import mmap
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from lib.paths import cache_dir

SEAL = hashlib.sha256().digest_size  # bytes behind the content of a sealed file


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then move it into place: `path` never holds half a file.

    The temporary file is removed if `write` fails (full disk, interrupt); an OSError names `path`.
    """
    temporary = path.with_name(f".{uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno is None:  # not the system's, and says all
            raise
        advice = "make room, or let CACHE_DIR and FIGURES_DIR name folders that can be written to"
        text = f"{path} can't be written ({error.strerror}); {advice}"
        raise OSError(error.errno, text) from error
    finally:
        with suppress(OSError):  # it never came to be, or was moved
            temporary.unlink()


def write_sealed(path: Path, blocks: Iterable[bytes]) -> None:
    """Write blocks one after the other, atomically, and their digest for `read_sealed`.

    The digest is of the file's place as well: another item's file, copied there, is damage too.
    """

    def write(temporary: Path) -> None:
        seal = hashlib.sha256("/".join(path.parts[-2:]).encode())
        with temporary.open("wb") as file:
            for block in blocks:
                seal.update(block)
                file.write(block)
            file.write(seal.digest())

    write_atomically(path, write)


def read_sealed(path: Path) -> memoryview:
    """Return what `write_sealed` wrote; OSError where that is damaged or not there."""
    try:
        with path.open("rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # ValueError: it is empty
        whole = memoryview(b"")
    seal = hashlib.sha256("/".join(path.parts[-2:]).encode())
    seal.update(whole[:-SEAL])
    if seal.digest() != whole[-SEAL:]:
        raise OSError(f"{path} is not as we wrote it; run again, and it is made again")
    return whole[:-SEAL]


def read_array(path: Path) -> np.ndarray:
    """Read an item of a `Store` by its path; OSError where it is damaged or not there."""
    return np.load(io.BytesIO(read_sealed(path)), allow_pickle=False)


def fingerprint(parts: Iterable[object]) -> str:
    """Digest a series of values (their `str`) into 16 hex characters, order included."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode(errors="surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def weights_fingerprint(model: object) -> str:
    """Digest the weights of a torch module."""
    return fingerprint(v.detach().cpu().numpy().tobytes() for v in model.state_dict().values())


class Store:
    """A folder of arrays that share one computation and differ by item name.

    `kind` says what is stored ("maps", "proxies", ...), `version` is of the code that decides the
    values, the parameters are all else that does; they must be JSON-serialisable.
    """

    def __init__(self, kind: str, version: int, **parameters: object):
        self._key = json.dumps({"version": version, **parameters}, sort_keys=True)
        self.folder = cache_dir() / kind / fingerprint([self._key])

    def path(self, name: str) -> Path:
        """Return the file that holds item `name`; any text makes a safe file name."""
        stem = "".join(c if c.isalnum() else "_" for c in name)[:60]
        return self.folder / f"{stem}-{fingerprint([name])[:8]}.npy"

    def get(self, name: str) -> np.ndarray | None:
        """Return the stored array, or None where there is none, or a damaged one: make it again."""
        try:
            return read_array(self.path(name))
        except OSError:
            return None

    def put(self, name: str, value: np.ndarray) -> np.ndarray:
        """Store `value` under `name` and return it."""
        note = self.folder / "key.json"
        if not note.exists():
            write_atomically(note, lambda path: path.write_text(self._key))
        content = io.BytesIO()
        np.save(content, value, allow_pickle=False)
        write_sealed(self.path(name), [content.getvalue()])
        return value


@dataclass(frozen=True)
class Kept(Sequence[np.ndarray]):
    """Stored arrays, each read when it is asked for: thousands of maps don't fit into memory."""

    paths: list[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_array(self.paths[index])
