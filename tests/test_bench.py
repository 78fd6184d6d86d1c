"""The benchmark's own arithmetic and command line; never a time."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import bench, masking_cost, training_cost


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


def test_costs_are_those_of_a_process_of_its_own_and_drawn(tmp_path, monkeypatch):
    held = np.ones(2 * 2**30, np.uint8)  # must not be counted as a child's
    table = masking_cost.in_fresh_processes([(1, 1)])
    assert table.images[0] == 1 and table.seconds[0] > 0
    children = table.peak_mib[0], training_cost.peak_of("Baseline-GradCAM-Loss")
    assert 100 < min(children) < max(children) < 2048 < masking_cost.peak_mib() and held.all()
    monkeypatch.setenv("FIGURES_DIR", str(tmp_path))
    two = pd.concat([table, table.assign(images=2, shares=2)])
    assert masking_cost.plot(two).read_bytes().startswith(b"\x89PNG")
