"""A killed run loses at most the item in hand, and a wrong cache is never read."""

import numpy as np
import pytest

from lib.store import Store, write_atomically


def test_what_was_put_is_got(empty_cache):
    store = Store("test", 1, sigma=3)
    assert store.get("a/b (1).jpg") is None
    store.put("a/b (1).jpg", np.arange(5.0))
    assert np.array_equal(store.get("a/b (1).jpg"), np.arange(5.0))
    assert store.get("a_b _1_.jpg") is None, "names that look alike do not share a file"


def test_parameters_and_the_version_of_the_code_decide_the_key(empty_cache, monkeypatch):
    store = Store("test", 1, sigma=3)
    store.put("a", np.zeros(1))
    assert Store("test", 1, sigma=4).get("a") is None
    assert Store("test", 2, sigma=3).get("a") is None
    assert Store("test", 1, sigma=3).get("a") is not None


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def full_disk(temporary):
        temporary.write_text("half of the n")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, full_disk)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", b"<html></html>"])
def test_a_damaged_item_is_computed_again(empty_cache, damage):
    store = Store("test", 1)
    store.put("a", np.arange(9.0))
    store.path("a").write_bytes(damage)
    assert store.get("a") is None
    store.put("a", np.arange(3.0))
    assert np.array_equal(store.get("a"), np.arange(3.0))


def test_objects_are_never_unpickled(empty_cache):
    store = Store("test", 1)
    store.put("a", np.zeros(1))
    with store.path("a").open("wb") as file:
        np.save(file, np.array([{"code": 1}], dtype=object), allow_pickle=True)
    assert store.get("a") is None
