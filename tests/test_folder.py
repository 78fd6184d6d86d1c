"""A folder as people have folders: what can be read is, and all else is told with its reason."""

import os

import av
import numpy as np
import pytest
from PIL import Image

from lib import data

COLOR = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def film(path, count=30, codec="mpeg4"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(count):
            frame = np.full((48, 64, 3), 8 * number, np.uint8)  # brighter with time
            frame[:, 32:] = 0
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    return path


def put(path, **options):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(COLOR).save(path, **options)
    return path


def test_names_are_distinct_and_printable_and_litter_does_not_count(tmp_path):
    awkward = ["a.png", "a.jpg", "A.PNG", "a.png.webp", "a.jpg.webp", "caf\udce9.png", "in/a.png"]
    litter = (".ipynb_checkpoints/a.png", "._a.png", "Thumbs.db", "desktop.ini", ".DS_Store")
    for name in (*awkward, *litter, "no ending"):
        put(tmp_path / name, format=None if name in awkward else "PNG")
    folder = data.load("folder", path=tmp_path)
    assert len(set(folder.names)) == len(folder) == len(awkward) + 1 and not folder.skipped
    assert "caf\\xe9.png" in folder.names and "in/a.png" in folder.names
    record = folder[folder.names.index("in/a.png")]
    assert np.array_equal(record.image, COLOR) and record.density is None and record.mos is None
    again = data.load("folder", path=str(tmp_path), strict=True)
    assert again.names == folder.names and again.fingerprint == folder.fingerprint
    Image.fromarray(COLOR[::-1]).save(tmp_path / "a.png")
    assert data.load("folder", path=tmp_path).fingerprint != folder.fingerprint


def test_one_opening_names_all_that_cannot_be_read_and_does_the_rest(tmp_path):
    whole = put(tmp_path / "good.png").read_bytes()
    reasons = {"cut.png": "truncated|damaged", "zero.jpg": "empty", "notes.txt": "does not know"}
    (tmp_path / "cut.png").write_bytes(whole[:-400])
    (tmp_path / "zero.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("buy milk")
    (tmp_path / "thumbs.png").mkdir()
    (tmp_path / "dead.png").symlink_to("nowhere.png")
    (tmp_path / "round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    reasons |= {"thumbs.png": "a folder", "dead.png": "to which a link leads", "round": "already"}
    reasons |= {"pipe.png": "a device", "film.mp4": "not a readable film"}
    (tmp_path / "film.mp4").write_bytes(film(tmp_path / "whole.mp4").read_bytes()[:600])
    folder = data.load("folder", path=tmp_path, frames=1)
    assert folder.names == ["good.png", "whole.mp4 @ 0:01.5"]
    assert list(folder.skipped) == sorted(reasons)
    for name, words in reasons.items():
        assert any(word in folder.skipped[name] for word in words.split("|")), folder.skipped[name]
        assert str(tmp_path) not in folder.skipped[name]
    with pytest.raises(ValueError, match="8 files of") as wrong:
        data.load("folder", path=tmp_path, strict=True)
    assert all(name in str(wrong.value) for name in reasons)


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "avi", "webm", "m4v"])
def test_a_film_is_frames_spread_evenly(tmp_path, ending):
    film(tmp_path / f"clip.{ending}", codec="libvpx" if ending == "webm" else "mpeg4")
    folder = data.load("folder", path=tmp_path, frames=3)
    assert folder.names == [f"clip.{ending} @ 0:0{t}" for t in ("0.5", "1.5", "2.5")]
    bright = [record.image[10:40, 8:24].mean() for record in folder]
    np.testing.assert_allclose(bright, [8 * 5, 8 * 15, 8 * 25], atol=6)


def test_a_film_of_a_turned_camera_is_upright(tmp_path):
    path = film(tmp_path / "clip.mp4", 5)
    plain, turned = (
        np.array(m, ">i4").tobytes() for m in ([65536, 0, 0, 0, 65536], [0, 65536, 0, -65536, 0])
    )
    content = path.read_bytes()
    at = content.index(plain, content.index(b"tkhd"))  # the matrix of the track
    path.write_bytes(content[:at] + turned + content[at + len(turned) :])
    image = data.load("folder", path=tmp_path)[4].image
    assert image.shape == (64, 48, 3)
    assert image[:28].mean() > 20 > image[36:].mean()  # left has become the top


def test_a_folder_that_is_no_folder_of_pictures_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"has no picture that can be read$"):
        data.load("folder", path=tmp_path)
    with pytest.raises(OSError, match="gone is not there"):
        data.load("folder", path=tmp_path / "gone")
    with pytest.raises(OSError, match="is a file: give the folder"):
        data.load("folder", path=put(tmp_path / "a.png"))
    with pytest.raises(ValueError, match="frames must be 1 or more"):
        data.load("folder", path=tmp_path, frames=0)
