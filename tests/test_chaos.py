"""Runs that are killed, robbed of their files or short of disk end with the very same tables."""

import nbformat
import pytest

from benchmarks import chaos

TINY = """
import time
import numpy as np
import pandas as pd
from lib import report
from lib.store import Store

store, rows = Store("tiny", 1), []
for number in range(40):
    if (found := store.get(str(number))) is None:
        time.sleep(0.03)
        found = store.put(str(number), np.random.default_rng(number).random((30, 30)))
    rows.append((number, found.mean()))
for name in ("one", "two"):
    report.save_rows(pd.DataFrame(rows, columns=["number", "mean"]), name, "tiny")
report.save_provenance("tiny", "tiny", {}, {})
"""


@pytest.mark.slow
def test_five_points_of_chaos_lose_nothing(tmp_path, capsys):
    cells = [nbformat.v4.new_code_cell("PROFILE = 'tiny'", metadata={"tags": ["parameters"]})]
    cells.append(nbformat.v4.new_code_cell(TINY))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "90_tiny.ipynb")
    places = ["--notebooks", str(tmp_path / "90_tiny.ipynb"), "--folder", str(tmp_path / "scratch")]
    assert chaos.main(["--points", "5", "--seed", "3", *places]) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert ": 0 kills" not in said and "\n0 lost or different" in said
