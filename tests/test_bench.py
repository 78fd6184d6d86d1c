"""The benchmark's own arithmetic and command line; never a time."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from benchmarks import bench, masking_cost, training_cost
from lib.paths import ROOT


def test_both_are_run_in_turn_and_the_ratio_is_of_medians(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])

    def takes(name, *seconds):
        left = iter(seconds)

        def run():
            order.append(name)
            clock[0] += next(left)

        return run

    timed = bench.alternate(takes("ours", 50, 1, 2, 9), takes("peer", 50, 6, 8, 99), repeats=3)
    assert order == ["ours", "peer"] * 4, "the first of each only warms up"
    assert timed == pytest.approx({"ours_s": 2, "peer_s": 8, "ratio": 4})


def test_the_command_runs_what_is_asked_and_writes_it_down(monkeypatch, tmp_path, capsys):
    row = {"what": "a", "peer": "b", "ours_s": 1.0, "peer_s": 6.0, "ratio": 6.0}
    monkeypatch.setattr(bench, "BENCHMARKS", {"one": lambda repeats: [row | {"n": repeats}]})
    assert bench.main(["--only", "one", "--repeats", "2", "--json", str(tmp_path / "b.json")]) == 0
    assert "6.000" in capsys.readouterr().out
    assert json.loads((tmp_path / "b.json").read_text()) == [row | {"n": 2}]
    with pytest.raises(SystemExit):
        bench.main(["--only", "nothing"])


def test_peak_memory_is_this_process_own_and_does_not_fall():
    before = masking_cost.peak_mib()
    block = np.ones(64 * 2**20, np.uint8)
    during = masking_cost.peak_mib()
    del block
    assert 10 < before <= during <= masking_cost.peak_mib()
    alone = "from benchmarks.masking_cost import peak_mib; print(peak_mib())"
    held = np.ones(1024 * 2**20, np.uint8)  # must not be counted as the child's
    child = subprocess.run([sys.executable, "-c", alone], cwd=ROOT, stdout=subprocess.PIPE)
    assert held.all() and float(child.stdout) < 1024


def test_masking_is_measured_in_a_process_of_its_own_and_drawn(tmp_path, monkeypatch):
    table = masking_cost.in_fresh_processes([(1, 1)])
    assert table.images[0] == 1 and table.seconds[0] > 0 and 100 < table.peak_mib[0] < 10_000
    monkeypatch.setenv("FIGURES_DIR", str(tmp_path))
    two = pd.concat([table, table.assign(images=2, shares=2)])
    assert masking_cost.plot(two).read_bytes().startswith(b"\x89PNG")


def test_a_training_step_is_a_whole_one():
    step = training_cost.step_of("Baseline-GradCAM-Loss")
    step()
    assert training_cost.peak_of("Baseline") > 100
