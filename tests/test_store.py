"""A killed run loses at most the item in hand, and where the work is done changes nothing."""

from pathlib import Path

import numpy as np
import pytest

from lib.store import Kept, Store, fingerprint, write_atomically


def test_what_was_put_is_got_under_the_same_name_version_and_parameters(empty_cache):
    name, stored = "a/b (1).jpg", np.arange(5.0)
    assert Store("test", 1, sigma=3).get(name) is None
    Store("test", 1, sigma=3).put(name, stored)
    assert np.array_equal(Store("test", 1, sigma=3).get(name), stored)
    assert Store("test", 1, sigma=3).get("a_b _1_.jpg") is None, "it only looks alike"
    assert Store("test", 1, sigma=4).get(name) is Store("test", 2, sigma=3).get(name) is None


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def full_disk(temporary):
        temporary.write_text("half of the n")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, full_disk)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"file/new\.csv can't be written .*CACHE_DIR"):
        write_atomically(tmp_path / "file" / "new.csv", Path.touch)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "a bit", "another item", "foreign"])
def test_a_damaged_item_is_computed_again_and_never_read(empty_cache, damage):
    store = Store("test", 1)
    store.put("a", np.arange(9.0))
    store.put("b", np.ones(9))
    path = store.path("a")
    content = {"empty": b"", "text": b"<html></html>", "cut": path.read_bytes()[:-40]}
    content["a bit"] = path.read_bytes().replace(b"\x1c\x40", b"\x1d\x40")
    content["another item"] = store.path("b").read_bytes()
    np.save(empty_cache / "foreign.npy", np.array([{"code": 1}], object))  # never unpickled
    content["foreign"] = (empty_cache / "foreign.npy").read_bytes()
    path.write_bytes(content[damage])
    assert store.get("a") is None
    with pytest.raises(OSError, match=f"{path.name} .* made again"):
        Kept([path])[0]
    store.put("a", np.arange(3.0))
    assert np.array_equal(store.get("a"), np.arange(3.0)) and store.get("b").all()


def test_fingerprint_depends_on_order_and_on_boundaries():
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"]) != fingerprint(["bc", "a"])
