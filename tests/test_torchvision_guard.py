"""The guard declares torchvision's operators beside a CPU torch, and else keeps its hands off."""

import subprocess
import sys

import pytest

from lib.paths import ROOT

SANE = """
import torch, torch.ops as ops
loaded = []
torch.ops.load_library = lambda path: loaded.append(path)  # torchvision's binary loads here
import lib._torchvision as guard
assert guard.ensure_torchvision_imports() is False, "it declared operators that were there"
assert loaded and not guard._declared
"""

BROKEN = """
import torch
def refuse(path):
    raise OSError("libcudart.so.13: cannot open shared object file")
torch.ops.load_library = refuse
import lib._torchvision as guard
assert guard.ensure_torchvision_imports() is True
assert guard.ensure_torchvision_imports() is True, "a second call declares nothing twice"
import torchvision, timm
"""


@pytest.mark.parametrize("script", [SANE, BROKEN], ids=["ops load", "ops do not load"])
def test_guard_acts_only_where_torchvisions_own_operators_are_missing(script, tmp_path):
    # `import lib` runs the guard by itself: load the module alone, before torchvision.
    head = "import sys, types; sys.modules['lib'] = m = types.ModuleType('lib');"
    head += f"m.__path__ = [{str(ROOT / 'lib')!r}]\n"
    done = subprocess.run(
        [sys.executable, "-c", head + script], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
