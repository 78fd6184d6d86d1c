"""Keep freed memory instead of handing it back to the kernel after every layer.

By default glibc gives blocks above a few megabytes back at once, so a network's large feature maps
are paid for again, page by page, in every layer of every forward pass. Where page faults are dear
(virtual machines, containers) that takes most of the time. The results are the same bits.
"""

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let this process reuse memory; True where the C library is glibc, else nothing is done."""
    try:
        libc = ctypes.CDLL(None)
        if not hasattr(libc, "gnu_get_libc_version"):
            return False
        settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 * 2**20}
        return all(libc.mallopt(name, value) for name, value in settings.items())
    except (OSError, TypeError, AttributeError):  # no such C library here
        return False
