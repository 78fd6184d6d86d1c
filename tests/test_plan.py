"""What a profile costs: counts and bytes by hand, whole trainings, and the command itself."""

import pytest

from benchmarks import plan
from benchmarks.unit_costs import MEASURES, Cost


@pytest.fixture
def small():
    """`sample` and Scene, but notebook 03 makes ten repeats on 2,000 photographs and OSIE."""
    p = plan.read("sample")
    p["01"] |= {"OTHER_GAZE": {"scene": {"long_side": 400}}}  # of 256 pixels: they stay so
    p["03"] |= {"QUALITY": "biq2021", "QUALITY_OPTIONS": {"split": "test"}, "PROXIES": "predictor"}
    p["03"] |= {"GAZE": "osie", "GAZE_OPTIONS": {"long_side": 400}, "REPEATS": 10, "TRANSFERS": []}
    return p


def test_counts_are_those_of_the_notebooks_and_a_training_stays_whole(small):
    todo = plan.work(small)
    times = {(number, *w.unit[:2]): w.times for number, rows in todo.items() for w in rows}
    # Four maps: two fills of two orders x five shares and of everything, and nothing masked; [13].
    assert times["02", "masked picture", "piqe"] == 48 * (4 * (2 * (2 * 5 + 1) + 1) + 13)
    assert times["03", "photograph resized", 512] == 2000
    assert times["05", "picture scored", 480] == 8 * 12
    (training,) = [w for w in todo["03"] if w.unit[0] == "training step"]
    one = 4 * (1600 // 16)  # epochs x steps; three networks a repeat
    assert training.seconds(2.0, 1) == pytest.approx(30 * one * 2)
    assert training.seconds(2.0, 8) == pytest.approx(4 * one * 2), "30 on 8: four in turn"
    assert plan.Work(("panel",), 7).seconds(1.0, 8) == 7, "what is serial is not divided"


def test_bytes_are_those_of_the_arrays_and_an_unknown_data_set_is_one_sentence(small):
    kept = plan.cache(small)
    maps = 8 * (2 + 5 + 8) * 480 * 640 + 500 * (2 + 5) * 256**2  # 8 of the ablation's variants
    assert kept["01"]["maps"] == 2 * maps
    assert kept["03"]["resized"] == 2000 * 160 * 160 * 3
    assert kept["03"]["proxies"] == 2000 * 10 * 24 * 24 * 4
    assert kept["03"]["maps"] == 700 * 5 * 300 * 400 * 2
    with pytest.raises(ValueError, match="data set 'mit1003' is not known; known: sample-saliency"):
        plan.pictures("mit1003")


def test_the_command_adds_up_and_every_unit_can_be_measured(monkeypatch, capsys):
    monkeypatch.setattr(
        plan, "measure", lambda units: {u: Cost(callable(MEASURES[u[0]])) for u in units}
    )
    for profile in ("sample", "open", "paper"):
        plan.main(["--profile", profile])
    said = capsys.readouterr().out
    assert "| all " in said and "CUDA_VISIBLE_DEVICES" in said and "downloaded**: AHIQ" in said
