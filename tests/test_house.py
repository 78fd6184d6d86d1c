"""The house stays small and straight: sizes, floors, and how things are added."""

import ast
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from lib import cam, data, iqa, metrics
from lib.paths import ROOT

FILES = sorted((ROOT / "lib").rglob("*.py"))
TESTS = sorted((ROOT / "tests").glob("*.py"))
# A module imports from lower floors, or from its own as long as that does not go round in a circle.
FLOORS = [
    {"_torchvision", "paths", "settings"},
    {"store", "jobs"},
    {"records", "images", "tables"},
    {"maps", "transforms", "metrics", "stats"},
    {"cam", "codec", "x264", "subjective", "models"},
    {"sources", "losses", "inputs", "training", "report", "plots", "iqa", "weighted"},
    {"evaluation", "masking", "dual_task"},
    {"data"},
    {"weights", "run"},
    {"__main__"},
]


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def module(path):
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__")


def part(name):
    """Say which member of `FLOORS` a module belongs to."""
    words = name.split(".")
    return words[1] if len(words) > 1 else "__init__"


def imports(path):
    """Modules of lib that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lib":
            if node.module in ("lib", "lib.data", "lib.models"):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                known = {n for n in names if (ROOT / (n.replace(".", "/") + ".py")).is_file()}
                found |= known or {node.module}
                found |= {n for n in names if (ROOT / n.replace(".", "/")).is_dir()}
            else:
                found.add(node.module)
    return found


# The goal is 4,000 lines of lib and 4,500 of tests, those for what people have among them. On top
# of both goals, and counted apart, are the files of
APART = {
    # the paper's data and networks, for which lib has 500 lines more,
    "paper": "salicon cat2000 koniq clive msinet tensorflow1 transalnet published test_paper_data "
    "test_published_iqa test_published_saliency msinet_tensorflow paper_trees test_dry_run",
    # and, each with its tests, what reads what people have (issue 15), the book (issue 16), and
    # what spreads work over processes and clusters (issue 17).
    "people": "folder tables settings test_folder test_tables test_chaos test_try",
    "book": "test_book browser",
    "scale": "jobs test_jobs",
}
# Today's lines of lib and of tests: lower them with each cut.
# Raised in November 2026, for Scene (53 lines), the figures' colors, names, columns and metadata
# (38), verify on another processor (33) and clearer refusals (19); and for their tests.
# And again, for scenes and kept frozen stages (inputs: 117; issue 14), for metrics that share what
# they make of a map (32 and 29; issue 17), and for maps and masked pictures as tasks (12).
TODAY = {"rest": (5_284, 5_217), "paper": (697, 1_112), "people": (280, 256)}
TODAY |= {"book": (0, 195), "scale": (91, 130)}


def total(paths, kind):
    """Lines of the files of one kind."""
    kinds = {name: kind for kind, names in APART.items() for name in names.split()}
    return sum(lines(path) for path in paths if kinds.get(path.stem, "rest") == kind)


@pytest.mark.xfail(strict=True, reason="neither goal is reached: clarity won")
@pytest.mark.parametrize(("paths", "goal"), [(FILES, 4_000), (TESTS, 4_500)], ids=["lib", "tests"])
def test_the_house_is_as_thin_as_it_should_be(paths, goal):
    assert total(paths, "rest") + total(paths, "people") <= goal


@pytest.mark.parametrize("kind", TODAY)
def test_lib_and_tests_get_thinner_and_no_thicker(kind):
    assert total(FILES, kind) <= TODAY[kind][0]
    assert total(TESTS, kind) <= TODAY[kind][1]


@pytest.mark.parametrize("path", FILES, ids=module)
def test_no_file_is_over_250_lines_and_no_function_over_60(path):
    assert lines(path) <= 250
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.parent.name != "lib" or p.stem != "__init__"]
)
def test_nothing_imports_upward(path):
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    own = floor[part(module(path))]
    for name in imports(path):
        if part(name) != "__init__":
            assert floor[part(name)] <= own, f"{module(path)} imports {name}"


def test_no_import_goes_round_in_a_circle():
    graph = {module(p): imports(p) - {module(p)} for p in FILES}
    while graph:
        ready = [name for name, needs in graph.items() if not needs & graph.keys()]
        assert ready, f"a circle among {sorted(graph)}"
        for name in ready:
            del graph[name]


def test_the_map_of_the_paper_leads_to_what_it_names():
    import lib

    for line in lib.__doc__.splitlines():
        path, _, names = line.partition("`lib/")[2].partition("`")
        if path:
            source = (ROOT / "lib" / path).read_text(encoding="utf-8")
            for name in names.split("`")[1::2]:
                assert name.split(".")[-1] in source, line


# -- adding things: one file or one entry, and no other line changes -----------------------------

TOY_DATA = """
from lib.records import Dataset, Record


class Toy(Dataset):
    name, kind, names, fingerprint = "toy", "made up", ["one"], "0"

    def __getitem__(self, index):
        return Record(self.names[index], None, mos=0.5)


def open(root):
    return Toy()
"""


def test_a_new_data_set_is_one_file(tmp_path):
    shutil.copytree(ROOT / "lib", tmp_path / "lib")
    (tmp_path / "lib" / "data" / "toy_set.py").write_text(TOY_DATA)
    code = "from lib import data; print(data.load('toy-set')[0].mos, 'toy-set' in data.names())"
    where = {"cwd": tmp_path, "env": {"PYTHONPATH": str(tmp_path)}}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **where)
    assert done.stdout == "0.5 True\n", done.stderr


def test_a_new_saliency_metric_is_one_entry(monkeypatch):
    def brightest(saliency_map, fixations):
        return float(np.max(saliency_map))

    monkeypatch.setitem(metrics.METRICS, "brightest", (brightest, "fixations"))
    record = data.load("sample-saliency")[0]
    assert metrics.score_map(record.density, record)["brightest"] == record.density.max()


def test_a_new_iqa_metric_is_one_entry(monkeypatch):
    def score(images, *_):
        return torch.from_numpy(images.mean(axis=(1, 2, 3)))

    entry = iqa.Entry("beyond the paper", lambda: (score, 1, "toy, 1"))
    monkeypatch.setitem(iqa.REGISTRY, "brightness", entry)
    (found,), missing = iqa.available(["brightness"])
    assert not missing and found(np.full((2, 4, 4, 3), 7, np.uint8)).tolist() == [7, 7]


def test_a_new_cam_method_is_one_entry(monkeypatch):
    monkeypatch.setitem(cam.METHODS, "activations", lambda A, gradient: A)
    conv = torch.nn.Conv2d(3, 2, 3, padding=1)
    model = torch.nn.Sequential(
        conv, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(2, 1)
    )
    x = torch.rand(1, 3, 32, 32)
    found = cam.extract_cam(model, x, conv, "activations", False, False)
    expected = cam.enlarge(conv(x).sum(dim=1)[0].clamp(min=0).detach().numpy(), (32, 32))
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
