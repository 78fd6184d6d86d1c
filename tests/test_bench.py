"""The benchmark's own arithmetic and command line; never a time."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import bench, growth, masking_cost, training_cost


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
    medians, own = {"ours_s": 2, "peer_s": 8, "ratio": 4}, {"low": 4, "high": 11}
    assert timed == pytest.approx(medians | own)


def test_the_command_runs_what_is_asked_and_writes_all_of_it_down(monkeypatch, tmp_path, capsys):
    row = {"what": "a", "peer": "b", "ours_s": 1.0, "peer_s": 6.0, "ratio": 6.0}
    monkeypatch.setattr(bench, "BENCHMARKS", {"one": lambda repeats: [row | {"n": repeats}]})
    monkeypatch.setattr(bench, "show_masking_cost", lambda: None)
    monkeypatch.setattr(bench.growth, "main", lambda _: None)
    monkeypatch.setenv("FIGURES_DIR", str(tmp_path))
    assert bench.main(["--only", "one", "--repeats", "2"]) == 0
    assert "6.000" in capsys.readouterr().out and not any(tmp_path.iterdir())
    assert bench.main([]) == 0
    kept = pd.read_csv(tmp_path / "bench" / "bench.csv")
    assert kept.to_dict("records") == [row | {"n": 5}]
    assert "torch" in (tmp_path / "bench" / "bench.md").read_text()


def test_every_benchmark_compares_what_it_says(monkeypatch, capsys):
    """Once each, of little work: the peers run, and agree where they should."""
    monkeypatch.setattr(
        bench, "alternate", lambda ours, peer, _: (ours(), peer(), {"ratio": 2.0})[2]
    )
    peaks = {"Baseline": 4, "Baseline-Sal-Loss": 6, "Baseline-GradCAM-Loss": 5}
    for name, little in {"SIDE": 64, "BATCH": 4, "peak_of": peaks.get}.items():
        monkeypatch.setattr(training_cost, name, little)
    (sal, gradcam) = bench.bench_training(1)
    assert sal["costs"] == gradcam["costs"] == 0.5
    assert sal["memory"] == 1.5 and gradcam["memory"] == 1.25
    assert len(bench.bench_learning(1)) == 2
    rows = bench.bench_metrics(1)
    assert all(r["apart"] < 1e-9 for r in rows) and (rows or "pip inst" in capsys.readouterr().out)


@pytest.mark.slow
def test_costs_are_those_of_a_process_of_its_own_and_drawn(tmp_path, monkeypatch):
    held = np.ones(2 * 2**30, np.uint8)  # must not be counted as a child's
    table = masking_cost.in_fresh_processes([(1, 1)])
    assert table.images[0] == 1 and table.seconds[0] > 0
    children = table.peak_mib[0], *map(training_cost.peak_of, ("Baseline", "Baseline-GradCAM-Loss"))
    assert 0.5 < children[2] / children[1] < 2
    assert 100 < min(children) < max(children) < 2048 < masking_cost.peak_mib() and held.all()
    monkeypatch.setenv("FIGURES_DIR", str(tmp_path))
    two = pd.concat([table, table.assign(images=2, shares=2)])
    assert masking_cost.plot(two).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", growth.WORK)
def test_growth_measures_what_the_notebooks_do_on_records_of_noise(kind, monkeypatch, tmp_path):
    monkeypatch.setenv("CACHE_DIR", str(tmp_path))  # put back afterwards
    found = growth.measure(kind, 24)
    assert found["kind"] == kind and found["records"] == 24 and found["seconds"] > 0
    monkeypatch.setenv("FIGURES_DIR", str(tmp_path))
    table = pd.DataFrame([found, found | {"records": 48}])
    assert growth.plot(table).read_bytes().startswith(b"\x89PNG")
