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
    ("setting", "message"),
    [("NB=99", "No notebook notebooks/99_"), ("PROFILE=absent", "No profile profiles/absent.yaml")],
)
def test_a_notebook_or_profile_that_is_not_there_is_named(checkout, setting, message):
    result = make("reproduce", setting, cwd=checkout)
    assert result.returncode != 0
    assert message in result.stderr


# -- dependency rules, in a copy whose Python only writes down what it is asked to do


@pytest.fixture
def checkout(tmp_path):
    """Give a small copy of the repository with an environment that is up to date."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
    files = ("notebooks/01_a.ipynb", "notebooks/02_b.ipynb", "lib/deep/maps.py")
    for name in (*files, "profiles/open.yaml", "weights/a.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
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
    (checkout / "calls").unlink(missing_ok=True)
    result = make("reproduce", *arguments, cwd=checkout)
    assert result.returncode == 0, result.stderr
    calls = checkout / "calls"
    return re.findall(r"notebooks/(\d\d)_", calls.read_text()) if calls.exists() else []


def test_a_second_reproduce_runs_nothing_and_dry_run_agrees(checkout):
    assert reproduced(checkout) == ["01", "02"]
    assert reproduced(checkout) == []
    assert "-m lib run" not in make("-n", "reproduce", cwd=checkout).stdout


@pytest.mark.parametrize(
    ("changed", "rerun"),
    [
        ("notebooks/02_b.ipynb", ["02"]),
        ("lib/deep/maps.py", ["01", "02"]),
        ("weights/a.safetensors", ["01", "02"]),
        ("profiles/open.yaml", []),
    ],
)
def test_a_notebook_reruns_when_what_it_depends_on_changes(checkout, changed, rerun):
    reproduced(checkout)
    later = 1 + max(p.stat().st_mtime for p in (checkout / "build").rglob("*"))
    os.utime(checkout / changed, (later, later))
    assert reproduced(checkout) == rerun


def test_one_notebook_runs_alone_and_jobs_reach_the_runner(checkout):
    assert reproduced(checkout, "NB=02") == ["02"]
    assert reproduced(checkout, "JOBS=3") == ["01"]
    assert "--profile sample --jobs 3 notebooks/01_a.ipynb" in (checkout / "calls").read_text()


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


def test_a_stale_or_missing_environment_is_made_first(checkout):
    os.utime(checkout / "requirements.txt")
    stamp = checkout / ".venv" / ".saliency-iqa-reproduction"
    os.utime(stamp, (1e9, 1e9))
    assert "pip install" in make("-n", "test", cwd=checkout).stdout
    stamp.touch()
    assert "pip install" not in make("-n", "test", cwd=checkout).stdout


def test_an_active_conda_environment_is_used_but_not_its_base(checkout):
    conda = {"CONDA_PREFIX": str(checkout / "conda"), "CONDA_DEFAULT_ENV": "saliency-iqa"}
    used = make("-n", "test", cwd=checkout, **conda).stdout
    assert f"{checkout}/conda/bin/python -m pytest" in used
    assert ".venv" not in used
    base = make("-n", "test", cwd=checkout, **conda | {"CONDA_DEFAULT_ENV": "base"}).stdout
    assert ".venv/bin/python -m pytest" in base


def test_a_python_that_is_too_old_is_refused_by_name(checkout):
    shutil.rmtree(checkout / ".venv")
    old = checkout / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = make("setup", f"PYTHON={old}", cwd=checkout)
    assert result.returncode != 0
    assert f"Python 3.11 or newer is needed, and {old} is not" in result.stderr


# -- the lock


def pins():
    """Return the version that the lock gives each package, by normalized name."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return dict(re.match(r"([\w.-]+)==([^ ;]+)", x).groups() for x in lines if x[:1].isalnum())


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_everything_asked_for_is_locked_and_the_pins_are_kept():
    locked = pins()
    for line in (ROOT / "requirements.in").read_text().splitlines():
        if line[:1].isalpha():
            name, _, pin = line.partition("==")
            name = normalized(re.split(r"[<>]", name)[0])
            assert name in locked, name
            assert not pin or locked[name] == pin


def test_the_lock_serves_cpu_cuda_and_conda_alike():
    text = (ROOT / "requirements.txt").read_text()
    assert not re.search(r"^(nvidia|triton|cuda)", text, re.M)
    assert "+cpu" not in text and "--hash" not in text and "--index-url" not in text
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert dependencies[-1] == {"pip": ["-r requirements.txt", "-e ."]}, "conda's is another"


def test_what_is_installed_is_what_is_locked():
    for name in ("torch", "torchvision", "timm", "grad-cam", "pyiqa", "numpy", "papermill"):
        assert version(name).split("+")[0] == pins()[name], name


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
