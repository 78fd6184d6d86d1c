"""Data sets arrive whole or not at all, whatever the network, the server and the disk do."""

import hashlib
import io
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import Mock

import pytest

from lib.__main__ import main
from lib.data import download, osie
from lib.data.download import DownloadError, Source

FILES = {"stimuli/1.jpg": b"\xff\xd8\xffpixels", "scores.csv": b"a,1\n"}


def archive(files=FILES):
    buffer, top = io.BytesIO(), "repository-abc123/"
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr(top, b"")
        for name, content in {**files, "README": b"not wanted"}.items():
            zipped.writestr(top + name, content)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests += 1
        status, body, announced = server.answers.pop(0) if server.answers else (404, b"no", None)
        self.send_response(status)
        self.send_header("Content-Length", str(announced or len(body)))
        self.end_headers()
        self.wfile.write(body)

    log_message = print  # to where pytest catches it


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as it:
        it.answers, it.requests = [], 0
        threading.Thread(target=it.serve_forever, args=(0.02,), daemon=True).start()
        yield it
        it.shutdown()


@pytest.fixture
def source(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MANIFESTS", tmp_path)
    lines = [f"{hashlib.sha256(body).hexdigest()}  {name}" for name, body in FILES.items()]
    (tmp_path / "set.sha256").write_text("\n".join(lines) + "\n")
    url = f"http://127.0.0.1:{server.server_port}/set.zip"
    files = {"stimuli/": "stimuli/", "scores.csv": "scores.csv"}
    return Source(url=url, about="1 kB", limit_mb=1, files=files, manifest="set.sha256")


def test_a_data_set_arrives_whole_and_inside_its_folder_from_a_server_that_stumbles(
    server, source, tmp_path
):
    whole = archive(FILES | {"stimuli/../../../escaped.jpg": b"x"})
    server.answers = [(503, b"busy", None), (200, whole[:50], len(whole)), (200, whole, None)]
    folder = tmp_path / "data" / "set"
    source.fetch(folder)
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}
    assert found.items() >= FILES.items() and not source.faults(folder)
    assert [*folder.parent.iterdir()] == [folder], "no scratch folder is left, and nothing escaped"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>quota exceeded</html>", "could not be fetched .*not a zip file"),
        (archive()[:120], "not a zip file"),
        (archive({"scores.csv": b"a,1\n"}), r"1 files .* stimuli/1\.jpg is missing"),
        (archive(FILES | {"scores.csv": b"a,2\n"}), r"scores\.csv is not the published file"),
        (archive(FILES | {"stimuli/2.jpg": bytes(2_000_000)}), "unpacks to more than 1 MB"),
    ],
    ids=["web page", "cut", "incomplete", "wrong hash", "bomb"],
)
def test_what_is_wrong_is_refused_in_a_sentence_and_the_old_files_stay(
    server, source, tmp_path, body, words
):
    folder = tmp_path / "set"
    (folder / "old").mkdir(parents=True)
    server.answers = [(200, body, None)] * 4
    with pytest.raises(DownloadError, match=words):
        source.fetch(folder)
    assert [p.name for p in folder.iterdir()] == ["old"]
    assert not (tmp_path / ".set.part").exists()


def test_no_network_and_a_full_disk_are_one_sentence_each(source, tmp_path, monkeypatch):
    with pytest.raises(DownloadError, match="could not be fetched into"):
        replace(source, url="http://127.0.0.1:9/x.zip").fetch(tmp_path / "set")
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr(download.pooch, "create", full)
    with pytest.raises(DownloadError, match="No space left on device"):
        source.fetch(tmp_path / "set")
    assert not list(tmp_path.rglob("*set*/"))


def test_the_command_lists_every_set_and_goes_on_after_a_failure(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    refuse = Mock(side_effect=DownloadError("out of reach"))
    monkeypatch.setattr(Source, "fetch", refuse)
    assert main(["data", "--profile", "open"]) == 1
    printed = capsys.readouterr()
    asked = " ".join(call.args[0].name for call in refuse.mock_calls)
    assert asked == "osie scene biq2021 sacid"
    assert "702 files to get" in printed.out and "out of reach" in printed.err


@pytest.mark.data
def test_the_manifest_is_that_of_the_real_files(real_data):
    assert not [f for f in osie.SOURCE.faults(real_data("osie")) if "LICENSE" not in f]
