"""Data sets arrive whole or not at all, whatever the network, the server and the disk do."""

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from lib.data import download as module
from lib.data.download import (
    DamagedArchiveError,
    DownloadError,
    download,
    fetch,
    main,
    read_sources,
    unpack,
    verify,
)
from lib.paths import ROOT

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(BODY).hexdigest()
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"


class Server(ThreadingHTTPServer):
    """Serves `files`; a list in `faults` says what to do with the requests for a path, in turn.

    A fault is an HTTP status, a (status, headers, body) to answer with, or ("cut", n): break the
    connection after n bytes. `requests` holds (path, Range header or None) of each request.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.requests, self.ranges = {}, {}, [], True

    def handle_error(self, request, client_address):
        """Keep quiet about clients that hang up."""

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, status, headers, body, announced=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(announced or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append((self.path, wanted))
        fault = server.faults[self.path].pop(0) if server.faults.get(self.path) else None
        if isinstance(fault, int):
            return self.reply(fault, {}, b"no")
        if fault and fault[0] != "cut":
            return self.reply(*fault)
        if self.path not in server.files:
            return self.reply(404, {}, b"no such file")
        body, status, headers = server.files[self.path], 200, {"Content-Type": "application/zip"}
        if wanted and server.ranges:
            start, size = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]), len(body)
            if start >= size:
                return self.reply(416, {"Content-Range": f"bytes */{size}"}, b"")
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
            body, status = body[start:], 206
        if fault:
            self.reply(status, headers, body[: fault[1]], announced=len(body))
            self.close_connection = True
        else:
            self.reply(status, headers, body)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as it:
        threading.Thread(target=it.serve_forever, args=(0.02,), daemon=True).start()
        it.files["/data.bin"] = BODY
        yield it
        it.shutdown()


def get(server, path, *, of="/data.bin", **options):
    return download(server.url(of), path, allow_local_http=True, backoff=0, **options)


def kept(path):
    """Bytes of `path` that wait in its .part file."""
    return path.with_name(path.name + ".part")


# -- one file ------------------------------------------------------------------------------------


def test_a_file_arrives_whole_and_is_not_fetched_again(server, tmp_path):
    path = tmp_path / "new" / "data.bin"
    for _ in range(2):
        assert get(server, path, sha256=SHA256, size=len(BODY)) == path
    assert path.read_bytes() == BODY
    assert server.requests == [("/data.bin", None)]
    assert list(path.parent.iterdir()) == [path], "no .part is left"


def test_md5_serves_where_nothing_better_is_published(server, tmp_path):
    get(server, tmp_path / "a", md5=hashlib.md5(BODY).hexdigest().upper())
    with pytest.raises(DownloadError, match="has the md5"):
        get(server, tmp_path / "b", md5="0" * 32)


def test_a_wrong_file_under_the_right_name_is_replaced(server, tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"old")
    get(server, path, sha256=SHA256)
    assert path.read_bytes() == BODY


def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path):
    server.faults["/data.bin"] = [("cut", 500_000), ("cut", 300_000)]
    assert get(server, tmp_path / "data.bin", sha256=SHA256).read_bytes() == BODY
    starts = [int(wanted[6:-1]) for _, wanted in server.requests[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1], "each request asks only for what is still lacking"


def test_an_interrupted_run_is_resumed_by_the_next(server, tmp_path):
    path = tmp_path / "data.bin"
    server.faults["/data.bin"] = [("cut", 500_000), *[503] * 5]
    with pytest.raises(DownloadError, match=r"failed 5 times in a row \(HTTP 503\).*again"):
        get(server, path, sha256=SHA256)
    size = kept(path).stat().st_size
    assert size > 0
    assert not path.exists()
    assert get(server, path, sha256=SHA256).read_bytes() == BODY
    assert server.requests[-1] == ("/data.bin", f"bytes={size}-")


def test_progress_renews_the_patience(server, tmp_path):
    server.faults["/data.bin"] = [("cut", 100_000)] * 6
    assert get(server, tmp_path / "data.bin", attempts=2, sha256=SHA256).read_bytes() == BODY


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    server.faults["/data.bin"] = [("cut", 500_000)]
    assert get(server, tmp_path / "data.bin", sha256=SHA256).read_bytes() == BODY


def test_a_server_without_ranges_that_always_breaks_is_given_up(server, tmp_path):
    server.ranges = False
    server.faults["/data.bin"] = [("cut", 500_000)] * 9
    with pytest.raises(DownloadError, match="failed 3 times in a row"):
        get(server, tmp_path / "data.bin", attempts=3)


def test_a_truncated_file_never_gets_its_name(server, tmp_path):
    server.faults["/data.bin"] = [("cut", 200_000), *[("cut", 0)] * 4]
    with pytest.raises(DownloadError, match="failed 5 times"):
        get(server, tmp_path / "data.bin")
    assert not (tmp_path / "data.bin").exists()


def test_a_part_that_is_already_whole_is_only_checked(server, tmp_path):
    path = tmp_path / "data.bin"
    kept(path).write_bytes(BODY)
    assert get(server, path, sha256=SHA256).read_bytes() == BODY
    assert server.requests == [("/data.bin", f"bytes={len(BODY)}-")], "answered 416"


def test_a_part_longer_than_the_file_is_dropped(server, tmp_path):
    path = tmp_path / "data.bin"
    kept(path).write_bytes(BODY + b"more")
    assert get(server, path, sha256=SHA256).read_bytes() == BODY


def test_a_part_of_another_version_is_fetched_afresh_once(server, tmp_path):
    path = tmp_path / "data.bin"
    kept(path).write_bytes(b"x" * 1000)
    assert get(server, path, sha256=SHA256).read_bytes() == BODY
    assert server.requests == [("/data.bin", "bytes=1000-"), ("/data.bin", None)]


def test_a_wrong_checksum_is_refused_and_names_url_and_file(server, tmp_path):
    path = tmp_path / "data.bin"
    with pytest.raises(DownloadError, match="has the sha256") as error:
        get(server, path, sha256="0" * 64)
    assert server.url("/data.bin") in str(error.value)
    assert str(path) in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1, "the same bytes would come again"


def test_another_size_than_published_is_refused_before_it_is_fetched(server, tmp_path):
    with pytest.raises(DownloadError, match=f"offers {len(BODY)} bytes .* has 7"):
        get(server, tmp_path / "data.bin", size=7)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content_type", "page"),
    [("text/html; charset=utf-8", b"Sign in"), ("application/zip", b"\n<!DOCTYPE html><p>Quota")],
)
def test_a_web_page_is_not_taken_for_an_archive(server, tmp_path, content_type, page):
    path = tmp_path / "data.zip"
    server.faults["/data.bin"] = [(200, {"Content-Type": content_type}, page)]
    with pytest.raises(DownloadError, match=r"web page instead of data\.zip") as error:
        get(server, path)
    assert f"save the file as {path}" in str(error.value)
    assert not path.exists()
    assert len(server.requests) == 1


def test_a_zip_without_its_end_is_refused(server, tmp_path):
    with pytest.raises(DownloadError, match="is not a whole zip archive"):
        get(server, tmp_path / "data.zip")


def test_a_busy_server_is_asked_again_after_the_time_it_names(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    server.faults["/data.bin"] = [503, (429, {"Retry-After": "7"}, b""), 500]
    download(server.url("/data.bin"), tmp_path / "a", allow_local_http=True, backoff=2.0)
    assert pauses == [2.0, 7.0, 8.0]


def test_a_missing_file_is_reported_at_once(server, tmp_path):
    with pytest.raises(DownloadError, match=r"nowhere answered HTTP 404 .* by hand to .*data\.bin"):
        get(server, tmp_path / "data.bin", of="/nowhere")
    assert len(server.requests) == 1


def test_an_unreachable_server_is_named_with_its_reason(tmp_path):
    with Server() as closed:
        url = closed.url("/data.bin")
    with pytest.raises(DownloadError, match=r"failed 2 times in a row .*refused"):
        download(url, tmp_path / "data.bin", allow_local_http=True, backoff=0, attempts=2)


@pytest.mark.parametrize("url", ["http://example.org/a.zip", "ftp://example.org/a", "a.zip"])
def test_only_https_is_spoken(url, tmp_path):
    for allowed in (False, True):
        with pytest.raises(ValueError, match="url must begin with https"):
            download(url, tmp_path / "a", allow_local_http=allowed)


def test_local_http_must_be_asked_for(server, tmp_path):
    with pytest.raises(ValueError, match="url must begin with https"):
        download(server.url("/data.bin"), tmp_path / "a")


def test_a_redirect_cannot_leave_https(server, tmp_path):
    server.faults["/data.bin"] = [(302, {"Location": "http://example.org/data.bin"}, b"")]
    with pytest.raises(DownloadError, match="not https"):
        get(server, tmp_path / "data.bin")


class FullDisk(io.FileIO):
    """A file on a disk with room for 300,000 bytes."""

    def write(self, data):
        if self.tell() + len(data) > 300_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.fixture
def full_disk(monkeypatch):
    """Let whatever is opened for writing as a .part file meet a full disk."""
    original = Path.open

    def opened(self, mode="r", *args, **kwargs):
        small = self.suffix == ".part" and mode in ("ab", "wb")
        return FullDisk(self, mode) if small else original(self, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        yield patch


def test_a_full_disk_keeps_what_arrived(server, tmp_path, full_disk):
    path = tmp_path / "data.bin"
    with pytest.raises(DownloadError, match=r"disk is full: .*\.part; .* free some space"):
        get(server, path, sha256=SHA256)
    size = kept(path).stat().st_size
    assert 200_000 < size <= 300_000
    full_disk.undo()
    assert get(server, path, sha256=SHA256).read_bytes() == BODY
    assert server.requests[-1] == ("/data.bin", f"bytes={size}-")


# -- one archive ---------------------------------------------------------------------------------


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return path


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_unpacking_gives_the_members_and_a_second_time_does_nothing(tmp_path):
    members = {"table.csv": b"a,b\n", "Images/ss02 (1014).JPG": b"jpeg", "Images/b.jpg": b""}
    archive = make_zip(tmp_path / "a.zip", {"Images/": b"", **members})
    assert unpack(archive, tmp_path / "out") == 3
    assert tree(tmp_path / "out") == members
    assert unpack(archive, tmp_path / "out") == 0


def test_only_the_members_asked_for_are_unpacked_where_they_belong(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"top/data/x.jpg": b"x", "top/src/main.m": b"code"})
    unpack(archive, tmp_path / "out", {"top/data/x.jpg": "stimuli/x.jpg"})
    assert tree(tmp_path / "out") == {"stimuli/x.jpg": b"x"}
    with pytest.raises(DamagedArchiveError, match=r"has no 'top/y\.jpg'"):
        unpack(archive, tmp_path / "out", {"top/y.jpg": "y.jpg"})


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "C:\\x", "..\\x", "."])
def test_no_member_leaves_the_folder(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", {"good.txt": b"good", name: b"evil"})
    with pytest.raises(DamagedArchiveError, match=r"not safe to unpack.*outside its folder"):
        unpack(archive, tmp_path / "in" / "out")
    assert list(tmp_path.rglob("*")) == [archive], "nothing was written, not even what is good"


def test_a_link_is_not_unpacked(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr(link, "/etc/passwd")
    with pytest.raises(DamagedArchiveError, match="'link' is a link or a device"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path):
    archive = make_zip(tmp_path / "bomb.zip", {"zeros": bytes(10**7)})
    assert archive.stat().st_size < 20_000
    with pytest.raises(DamagedArchiveError, match="10000000 bytes, more than the 1000000 allowed"):
        unpack(archive, tmp_path / "out", limit=10**6)
    assert not (tmp_path / "out").exists()


def test_a_member_larger_than_it_declares_is_not_unpacked(tmp_path):
    archive = make_zip(tmp_path / "bomb.zip", {"zeros": bytes(10**7)})
    true, declared = (n.to_bytes(4, "little") for n in (10**7, 1000))
    assert archive.read_bytes().count(true) == 2
    archive.write_bytes(archive.read_bytes().replace(true, declared))
    with pytest.raises(DamagedArchiveError, match="is damaged"):
        unpack(archive, tmp_path / "out", limit=10**6)
    assert not (tmp_path / "out" / "zeros").exists()
    assert (tmp_path / "out" / "zeros.part").stat().st_size <= 1000


def test_a_damaged_archive_leaves_no_half_file(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as bundle:  # stored, so that its bytes are found below
        bundle.writestr("a.jpg", b"first picture")
        bundle.writestr("b.jpg", b"second picture")
    archive.write_bytes(archive.read_bytes().replace(b"second pic", b"SECOND pic"))
    with pytest.raises(DamagedArchiveError, match=r"a\.zip is damaged .*download it again"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "a.jpg").read_bytes() == b"first picture"
    assert not (tmp_path / "out" / "b.jpg").exists()


def test_a_killed_unpacking_is_resumed(tmp_path):
    members = {f"{i}.bin": os.urandom(1000) for i in range(5)}
    archive = make_zip(
        tmp_path / "a.zip", {"table.csv": b"t", **{f"d/{n}": b for n, b in members.items()}}
    )
    script = (
        "import os, shutil, sys; from lib.data import download\n"
        "copies = []\n"
        "def copy(source, file):\n"
        "    copies.append(1)\n"
        "    file.write(source.read(100 if len(copies) == 3 else -1)); file.flush()\n"
        "    len(copies) == 3 and os.kill(os.getpid(), 9)\n"
        "shutil.copyfileobj = copy\n"
        "download.unpack(sys.argv[1], sys.argv[2])\n"
    )
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", script, archive, out], cwd=ROOT, check=False)
    assert killed.returncode == -9
    left = tree(out)
    assert len(left.pop("d/2.bin.part")) == 100
    assert left == {"d/0.bin": members["0.bin"], "d/1.bin": members["1.bin"]}, (
        "whole files only, and the table that loaders open is not among them yet"
    )
    assert unpack(archive, out) == 4, "only what was lacking"
    assert tree(out) == {"table.csv": b"t", **{f"d/{n}": b for n, b in members.items()}}


def test_a_full_disk_while_unpacking_is_named(tmp_path, full_disk):
    archive = make_zip(tmp_path / "a.zip", {"a.bin": b"a", "b.bin": BODY})
    with pytest.raises(DownloadError, match=r"disk is full: cannot write .*b\.bin; free some"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out" / "b.bin").exists()
    full_disk.undo()
    assert unpack(archive, tmp_path / "out") == 1


# -- data sets -----------------------------------------------------------------------------------

FILES = {"stimuli/1.jpg": b"one", "stimuli/2.jpg": b"two", "fixations.mat": b"mat"}


@pytest.fixture
def sources_file(server, tmp_path):
    """Define two data sets on the local server: `eyes` with checksums, `votes` without."""
    server.files["/eyes"] = make_zip(
        tmp_path / "served.zip",
        {
            "repo-4a46789/data/stimuli/1.jpg": b"one",
            "repo-4a46789/data/stimuli/2.jpg": b"two",
            "repo-4a46789/data/eye/fixations.mat": b"mat",
            "repo-4a46789/src/main.m": b"code that nobody asked for",
        },
    ).read_bytes()
    server.files["/votes"] = make_zip(
        tmp_path / "served.zip", {"r-x/reference/a.png": PNG, "r-x/moses.csv": b"sequence\na\n"}
    ).read_bytes()
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "eyes.sha256").write_text(
        "".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in FILES.items())
    )
    (folder / "votes.txt").write_text("-  moses.csv\n-  reference/a.png\n")
    common = {"about": "1 kB", "limit_mb": 1, "allow_local_http": True}
    eyes_files = {"data/stimuli/": "stimuli/", "data/eye/fixations.mat": "fixations.mat"}
    votes_files = {"reference/": "reference/", "moses.csv": "moses.csv"}
    eyes = {"url": server.url("/eyes"), "files": eyes_files, "manifest": "eyes.sha256"}
    votes = {"url": server.url("/votes"), "files": votes_files, "manifest": "votes.txt"}
    path = folder / "sources.yaml"
    content = {
        "profiles": {"sample": [], "open": ["eyes", "votes"]},
        "datasets": {"eyes": {**common, **eyes}, "votes": {**common, **votes}},
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def sources(sources_file):
    return read_sources(sources_file)[0]


def visible(folder):
    return {name: content for name, content in tree(folder).items() if name != ".complete"}


def test_a_data_set_is_fetched_checked_and_then_left_alone(server, sources, tmp_path):
    root = tmp_path / "data"
    assert "3 of 3 files right" in fetch("eyes", root, sources)
    assert visible(root / "eyes") == FILES
    assert [p.name for p in root.iterdir()] == ["eyes"], "the archive is not kept"
    assert "unchanged" in fetch("eyes", root, sources)
    assert len(server.requests) == 1


def test_a_data_set_brought_by_hand_needs_no_network(server, sources, tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "data" / "eyes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert "3 of 3 files right" in fetch("eyes", tmp_path / "data", sources)
    assert server.requests == []


def test_an_archive_saved_by_hand_is_used(server, sources, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "eyes.zip").write_bytes(server.files["/eyes"])
    fetch("eyes", tmp_path / "data", sources)
    assert visible(tmp_path / "data" / "eyes") == FILES
    assert server.requests == []


def test_a_changed_or_missing_file_is_fetched_again(server, sources, tmp_path):
    root = tmp_path / "data"
    fetch("eyes", root, sources)
    (root / "eyes" / "stimuli" / "1.jpg").write_bytes(b"ONE!")
    (root / "eyes" / "stimuli" / "2.jpg").unlink()
    assert "3 of 3 files right" in fetch("eyes", root, sources)
    assert visible(root / "eyes") == FILES
    assert len(server.requests) == 2


def test_content_other_than_published_is_refused(server, sources, tmp_path):
    changed = {"r/data/stimuli/1.jpg": b"one", "r/data/stimuli/2.jpg": b"TWO"}
    changed["r/data/eye/fixations.mat"] = b"mat"
    server.files["/eyes"] = make_zip(tmp_path / "served.zip", changed).read_bytes()
    with pytest.raises(DownloadError, match=r"not the data set as published .*stimuli/2\.jpg"):
        fetch("eyes", tmp_path / "data", sources)
    assert not (tmp_path / "data" / "eyes" / ".complete").exists()
    assert not (tmp_path / "data" / "eyes.zip").exists(), "the next run fetches it afresh"


def test_an_archive_that_lacks_files_is_refused(server, sources, tmp_path):
    one = make_zip(tmp_path / "served.zip", {"r/data/stimuli/1.jpg": b"one"})
    server.files["/eyes"] = one.read_bytes()
    with pytest.raises(DownloadError, match=r"lacks 2 of the 3 files of eyes \(fixations\.mat"):
        fetch("eyes", tmp_path / "data", sources)


def test_without_checksums_the_files_and_their_kinds_are_checked(server, sources, tmp_path):
    root = tmp_path / "data"
    assert "no checksums are known" in fetch("votes", root, sources)
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    (root / "votes" / "reference" / "a.png").write_bytes(pointer)
    with pytest.raises(DownloadError, match=r"1 corrupt .*first: reference/a\.png"):
        verify("votes", root, sources=sources)


def test_verify_counts_a_subset_without_complaint_when_asked(sources, tmp_path):
    root = tmp_path / "data"
    fetch("eyes", root, sources)
    (root / "eyes" / "stimuli" / "2.jpg").unlink()
    found = verify("eyes", root, allow_missing=True, sources=sources)
    assert (found.present, found.missing, found.corrupt) == (2, ("stimuli/2.jpg",), ())
    with pytest.raises(DownloadError, match=r"2 of 3 files right, 1 missing.*--only eyes"):
        verify("eyes", root, sources=sources)


def test_verify_finds_corruption_that_size_and_time_hide(sources, tmp_path):
    root = tmp_path / "data"
    fetch("eyes", root, sources)
    path = root / "eyes" / "stimuli" / "2.jpg"
    before = path.stat()
    path.write_bytes(b"tw0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DownloadError, match="1 corrupt"):
        verify("eyes", root, allow_missing=True, sources=sources)


def test_an_unknown_data_set_is_named():
    with pytest.raises(ValueError, match="unknown data set 'salicon'"):
        fetch("salicon", "data")


# -- the command ---------------------------------------------------------------------------------


def test_the_command_fetches_a_profile_end_to_end(server, sources_file, tmp_path):
    command = [sys.executable, "-m", "lib.data.download", "--profile", "open"]
    command += ["--sources", sources_file, "--data-dir", tmp_path / "data"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "eyes: 3 of 3 files right, 0 missing, 0 corrupt (checked by sha256)" in done.stdout
    assert "votes: 2 of 2 files right" in done.stdout
    assert visible(tmp_path / "data" / "eyes") == FILES


def test_the_command_is_idempotent_and_verifies(server, sources_file, tmp_path, capsys):
    options = ["--sources", str(sources_file), "--data-dir", str(tmp_path / "data")]
    assert main([*options, "--only", "eyes"]) == 0
    assert [path for path, _ in server.requests] == ["/eyes"], "--only leaves the others out"
    assert main([*options, "--only", "eyes"]) == 0
    assert "unchanged since it was last checked" in capsys.readouterr().out
    assert len(server.requests) == 1
    assert main([*options, "--only", "eyes", "--verify"]) == 0
    shutil.rmtree(tmp_path / "data" / "eyes" / "stimuli")
    assert main([*options, "--only", "eyes", "--verify", "--allow-missing"]) == 0
    assert main([*options, "--only", "eyes", "--verify"]) == 1
    assert len(server.requests) == 1, "--verify downloads nothing"


def test_a_failing_data_set_gives_one_line_and_the_others_still_come(
    server, sources_file, tmp_path, capsys
):
    del server.files["/eyes"]
    options = ["--sources", str(sources_file), "--data-dir", str(tmp_path / "data")]
    assert main(options) == 1
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "answered HTTP 404" in errors[0]
    assert str(tmp_path / "data" / "eyes.zip") in errors[0], "where to put it by hand"
    assert "votes: 2 of 2 files right" in said.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "huge"], "no data sets are defined for the profile 'huge'"),
        (["--only", "salicon"], "--only salicon is not a data set of the profile 'open'"),
        (["--sources", "/nowhere.yaml"], "No such file"),
    ],
)
def test_a_wrong_option_gives_one_clear_line(options, message, capsys):
    assert main(options) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_sample_profile_needs_no_download(capsys):
    assert main(["--profile", "sample"]) == 0
    assert "needs no download" in capsys.readouterr().out


# -- the real definitions ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("osie", {"stimuli": 700, "fixations.mat": 1, "LICENSE": 1}),
        (
            "biq2021",
            {"Images": 12_000, "Train (Images and MOS).csv": 1, "Test (Images and MOS).csv": 1},
        ),
        ("sacid", {"reference": 60, "saliency": 60, "compressed": 720, "moses.csv": 1}),
    ],
)
def test_the_manifests_list_the_published_files(name, counts):
    source = read_sources()[0][name]
    assert source.url.startswith("https://codeload.github.com/")
    expected = source.expected()
    found = {}
    for path in expected:
        found[path.split("/")[0]] = found.get(path.split("/")[0], 0) + 1
    assert found == counts
    digest = "-" if name == "sacid" else "[0-9a-f]{64}"
    assert all(re.fullmatch(digest, value) for value in expected.values())
    assert len({path.lower() for path in expected}) == len(expected), "macOS ignores case"


def test_sacid_has_twelve_compressed_images_a_sequence():
    paths = [p for p in read_sources()[0]["sacid"].expected() if p.startswith("compressed/")]
    folders = [path.split("/")[1] for path in paths]
    assert {folders.count(folder) for folder in folders} == {12}


@pytest.mark.data
def test_the_real_osie_is_as_published(real_data):
    assert verify("osie", real_data("osie").parent).complete
