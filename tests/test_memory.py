"""Freed memory stays with the process where the C library is glibc; elsewhere nothing happens."""

import ctypes
import platform

from lib import _memory


def test_glibc_is_told():
    told = _memory.keep_freed_memory()
    assert told is (platform.libc_ver()[0] == "glibc")


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert _memory.keep_freed_memory() is False

    def none(name):
        raise OSError("no C library")

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert _memory.keep_freed_memory() is False
