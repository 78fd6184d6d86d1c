"""The front door: help, the dependency rules, the lock, and a `cv2` that needs no screen."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from lib.paths import ROOT

CLEAN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


def make(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        ["make", *arguments], cwd=cwd, env=CLEAN | environment, capture_output=True, text=True
    )


def test_plain_make_prints_help_that_names_every_target():
    result = make()
    assert result.returncode == 0, result.stderr
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.M)[1].split()
    for target in set(phony) - {"check-notebooks"}:
        assert re.search(rf"^  {target} +\S", result.stdout, re.M), target


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("reproduce NB=99", "No notebook notebooks/99_"),
        ("reproduce PROFILE=absent", "No profile profiles/absent.yaml"),
        ("setup VENV=new PYTHON=./old", "Python 3.11 or newer is needed, and ./old is not"),
    ],
)
def test_what_make_cannot_do_is_refused_by_name(checkout, asked, message):
    (checkout / "old").write_text("#!/bin/sh\nexit 1\n")
    (checkout / "old").chmod(0o755)
    result = make(*asked.split(), cwd=checkout)
    assert result.returncode != 0 and message in result.stderr


# -- dependency rules, in a copy whose Python only writes down what it is asked to do


INPUTS = ("lib/deep/maps.py", "weights/a.safetensors")


@pytest.fixture
def checkout(tmp_path):
    """Give a small copy of the repository with an environment that is up to date."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    files = ("notebooks/01_a.ipynb", "notebooks/02_b.ipynb", "profiles/open.yaml", *INPUTS)
    for path in (*(tmp_path / name for name in files), python):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    python.write_text(
        '#!/bin/sh\nfor last; do :; done\necho "$@" >> calls\n'
        'profile=$(echo "$@" | sed "s/.*--profile \\([a-z]*\\).*/\\1/")\n'
        "touch build/$profile/${last##*/}\n"
    )
    python.chmod(0o755)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (tmp_path / ".venv" / ".saliency-iqa-reproduction").touch()
    return tmp_path


def reproduced(checkout, *arguments):
    """Run `make reproduce` and return the numbers of the notebooks that it executed."""
    (checkout / "calls").write_text("")
    result = make("reproduce", *arguments, cwd=checkout)
    assert result.returncode == 0, result.stderr
    return sorted(re.findall(r"notebooks/(\d\d)_", (checkout / "calls").read_text()))


def test_a_notebook_runs_alone_or_with_the_rest_and_again_when_what_it_depends_on_changes(checkout):
    assert reproduced(checkout, "NB=02") == ["02"]
    assert reproduced(checkout, "JOBS=3") == ["01"]
    assert "--profile sample --jobs 3 notebooks/01_a.ipynb" in (checkout / "calls").read_text()
    assert "-m lib run" not in make("-n", "reproduce", cwd=checkout).stdout
    reruns = {"notebooks/02_b.ipynb": ["02"]} | {name: ["01", "02"] for name in INPUTS}
    for hour, (changed, rerun) in enumerate((reruns | {"profiles/open.yaml": []}).items()):
        for path in [*(checkout / "build").rglob("*"), checkout / changed]:
            os.utime(path, (1e9, 1e9 + 3600 * hour + (path == checkout / changed)))
        assert reproduced(checkout) == rerun, changed


def test_a_model_is_trained_and_then_measured_for_its_card(checkout):
    said = make("-n", "train", "MODEL=baseline-lite0", cwd=checkout).stdout
    assert re.findall(r"-m (.*) baseline-lite0", said) == ["lib train", "benchmarks.cards"]


def test_another_data_folder_or_new_files_in_it_rerun_what_reads_data(checkout):
    data = checkout / "sets" / "osie"
    data.mkdir(parents=True)
    elsewhere = ("PROFILE=open", f"DATA_DIR={data.parent}")
    assert reproduced(checkout, "PROFILE=open") == ["01", "02"]
    assert reproduced(checkout, *elsewhere) == ["01", "02"]
    assert reproduced(checkout, *elsewhere) == []
    (data / "1001.jpg").write_bytes(b"image")
    assert reproduced(checkout, *elsewhere) == ["01", "02"]
    assert reproduced(checkout) == ["01", "02"]
    assert reproduced(checkout, elsewhere[1]) == [], "sample reads no data set"


def test_a_stale_environment_is_made_anew_and_condas_is_used_but_not_its_base(checkout):
    assert "pip install" not in make("-n", "test", cwd=checkout).stdout
    os.utime(checkout / ".venv" / ".saliency-iqa-reproduction", (1, 1))
    assert "pip install" in make("-n", "test", cwd=checkout).stdout
    conda = {"CONDA_PREFIX": str(checkout / "conda"), "CONDA_DEFAULT_ENV": "saliency-iqa"}
    used = make("-n", "test", cwd=checkout, **conda).stdout
    assert f"{checkout}/conda/bin/python -m pytest" in used and ".venv" not in used
    base = make("-n", "test", cwd=checkout, **conda | {"CONDA_DEFAULT_ENV": "base"}).stdout
    assert ".venv/bin/python -m pytest" in base


# -- the lock


def test_everything_asked_for_is_locked_with_its_pin_and_installed_as_locked():
    lock = (ROOT / "requirements.txt").read_text()
    locked = dict(re.findall(r"^(\w[\w.-]*)==([^ ;\n]+)", lock, re.M))
    for line in (ROOT / "requirements.in").read_text().splitlines():
        if line[:1].isalpha():
            name, _, pin = line.partition("==")
            name = re.sub(r"[-_.]+", "-", re.split(r"[<>]", name)[0]).lower()
            assert locked[name] == (pin or locked[name]) == version(name).split("+")[0], name


def test_the_lock_serves_cpu_cuda_and_conda_alike():
    text = (ROOT / "requirements.txt").read_text()
    assert not re.search(r"^(nvidia|triton|cuda)", text, re.M)
    assert "+cpu" not in text and "--hash" not in text and "--index-url" not in text
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert dependencies[-1] == {"pip": ["-r requirements.txt", "-e ."]}, "conda's is another"


def test_every_subpackage_and_its_data_files_are_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["packages"]["find"]["include"] == ["lib", "lib.*"]
    patterns = settings["package-data"]["*"]
    for path in (ROOT / "lib").rglob("*"):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            assert f"*{path.suffix}" in patterns, path


@pytest.mark.skipif(sys.platform != "linux", reason="libGL is a matter of Linux servers")
def test_cv2_is_the_headless_one_and_needs_no_graphics_library():
    code = "import cv2, cv2.version as v; print(v.headless, cv2.__file__)"
    result = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    headless, file = result.stdout.split(maxsplit=1)
    assert headless == "True", "opencv-python won over opencv-python-headless; run: make setup"
    binary = next(Path(file.strip()).parent.glob("*.so"))
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True).stdout
    assert "libGL" not in linked and "libxcb" not in linked
