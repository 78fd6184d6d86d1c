"""Build the book: ``python -m book.build``, into build/book/html.

The pages are staged in build/book/source under the paths that they have in the repository, so that
most links between them hold as they are. Notebooks come with their committed outputs; nothing is
run. Links to what is no page lead to a page about it (a module, a folder) or to a copy of the file.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "RESULTS.md", "CONTRIBUTING.md", "CHANGELOG.md", "notebooks/*.ipynb")
PAGES += ("weights/*.md", "figures/*/*.md", "book/*.md", "book/howto/*.md")
# In Markdown and in its HTML; not in code, where brackets are brackets.
CODE = re.compile(r"^( *)(```|~~~).*?^ *\2|`[^`\n]+`", re.M | re.S)
LINK = re.compile(r"(?<=\]\()[^()\s]+(?=\))|(?<=src=\")[^\"]+|(?<=href=\")[^\"]+")
TORCHVISION = Path("lib/_torchvision.py")  # no part of the library that anyone calls
IMAGE_ELSEWHERE = re.compile(r"!\[([^\]]*)\]\(https?:[^)]*\)")
FIGURES = {  # how a figure's page is called
    "open": "People's data: the `open` profile",
    "paper": "The paper's data: the `paper` profile",
    "sample": "Eight photographs: the `sample` profile",
    "bench": "Speed",
}


class BookError(Exception):
    """The book can't be built; the message says why."""


def staged(path: Path) -> Path:
    """Return where a file or folder of the repository is in the book, both relative."""
    if path == Path("README.md"):
        return Path("index.md")
    if path.parts[:1] == ("lib",) and path.suffix in {".py", ""} and path != TORCHVISION:
        inside = path.with_suffix("").parts[: -1 if path.stem == "__init__" else None]
        return Path("api", "index.md" if len(inside) == 1 else f"{'.'.join(inside)}.md")
    if path.parts[:1] == ("book",):
        return path.relative_to("book")
    if (ROOT / path).is_dir():
        return path / "index.md"
    return path


def relink(text: str, page: Path, source: Path) -> str:
    """Make the links of a page's Markdown (`page`: its path in the repository) fit the book.

    Files that are no page are copied into `source`. Pictures from other hosts, such as badges, give
    way to their text: the book asks no other host for anything.
    """

    def moved(match: re.Match) -> str:
        link, _, anchor = match[0].partition("#")
        target = os.path.normpath(page.parent / link)
        if not link or re.match(r"[a-z]+:", link) or target.startswith(".."):
            return match[0]
        if not (ROOT / target).exists():
            raise BookError(f"{page} links to {link}, which is not there")
        to = staged(Path(target))
        if to == Path(target) and not (source / to).exists():
            (source / to).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / target, source / to)
        start = Path("index.md") if page == Path("README.md") else staged(page)
        return Path(os.path.relpath(to, start.parent)).as_posix() + (anchor and f"#{anchor}")

    def prose(piece: str) -> str:
        return LINK.sub(moved, IMAGE_ELSEWHERE.sub(r"\1", piece))

    done, end = [], 0
    for code in CODE.finditer(text):
        done += [prose(text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*done, prose(text[end:])])


def stage_notebook(path: Path, source: Path) -> str:
    """Return a notebook with the links of its prose moved, and its outputs as they are."""
    notebook = json.loads((ROOT / path).read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = relink("".join(cell["source"]), path, source)
    return json.dumps(notebook, ensure_ascii=False)


def stage_page(path: Path, source: Path) -> str:
    """Return a Markdown page with its links moved; tables get a title."""
    text = relink((ROOT / path).read_text(encoding="utf-8"), path, source)
    return f"# {path.stem}\n\n{text}" if path.parts[0] == "figures" else text


def stage_gallery(folder: Path, source: Path) -> str:
    """Return a page with every figure and table of a profile, and copy them."""
    lines = [f"# {FIGURES.get(folder.name, folder.name)}\n"]
    files = sorted(path for path in folder.iterdir() if path.suffix in {".png", ".csv", ".pdf"})
    for path in files:
        shutil.copy2(path, source / path.relative_to(ROOT))
    for stem in dict.fromkeys(path.stem for path in files):
        beside = [path.name for path in files if path.stem == stem]
        lines += [f"## {stem}\n"]
        if f"{stem}.png" in beside:
            lines += [f"```{{image}} {stem}.png\n:alt: {stem}\n:loading: lazy\n```\n"]
        links = [f"[{name[-3:].upper()}]({name})" for name in beside if not name.endswith(".png")]
        table = [f"[table]({stem}.md)"] if (folder / f"{stem}.md").is_file() else []
        lines += [" · ".join(table + links) + "\n"]
    lines += ["```{toctree}\n:hidden:\n", *sorted(p.stem for p in folder.glob("*.md")), "```"]
    return "\n".join(lines)


def stage_folder(title: str, names: list[str]) -> str:
    """Return a page that lists the pages of a folder."""
    return "\n".join([f"# {title}\n", "```{toctree}\n:maxdepth: 1\n", *names, "```"])


def docstring(path: Path) -> str:
    """Return what a module says of itself; it is not imported."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def stage_api() -> dict[str, str]:
    """Return the pages of the library: a list, and one a module."""
    items, rows, names = [], [], []
    for line in docstring(ROOT / "lib" / "__init__.py").splitlines():
        if row := re.match(r"(.+?) +`lib/(\S+)\.py`:?(.*)", line):
            name = f"lib.{row[2].replace('/', '.')}"
            members = re.sub("`(.+?)`", rf"{{py:obj}}`~{name}.\1`", row[3])
            items.append(f"| {row[1]} | [`{name}`]({name}.md) | {members} |")
    pages = {}
    for path in sorted((ROOT / "lib").rglob("*.py")):
        name = staged(path.relative_to(ROOT)).stem
        if name == "index" or path.relative_to(ROOT) == TORCHVISION:
            continue
        names.append(name)
        rows.append(f"| [`{name}`]({name}.md) | {docstring(path).splitlines()[0]} |")
        pages[f"api/{name}.md"] = (
            f"# `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n"
            "   :ignore-module-all:\n   :member-order: bysource\n   :show-inheritance:\n```\n"
        )
    lines = ["# The library\n\n## Where an item of the paper is\n"]
    lines += ["| in the paper | module | name |", "| --- | --- | --- |", *items]
    lines += ["\n## Modules\n", "| module | what it holds |", "| --- | --- |", *rows]
    pages["api/index.md"] = "\n".join([*lines, "\n```{toctree}\n:hidden:\n", *names, "```"])
    return pages


def stage(source: Path) -> None:
    """Lay out all sources of the book in a new folder."""
    shutil.copytree(ROOT / "book" / "_static", source / "_static")
    shutil.copy2(ROOT / "book" / "conf.py", source / "conf.py")
    pages = stage_api()
    paths = [path.relative_to(ROOT) for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    for path in paths:
        write = stage_notebook if path.suffix == ".ipynb" else stage_page
        name = path if path == Path("README.md") else staged(path)
        pages[name.as_posix()] = write(path, source)
    if Path("RESULTS.md") not in paths:
        pages["index.md"] = pages["index.md"].replace("\nRESULTS\n", "\n")
    folders = [path for path in (ROOT / "figures").iterdir() if any(path.glob("*.png"))]
    order = [*FIGURES]
    folders.sort(key=lambda path: order.index(path.name) if path.name in order else -1)
    for folder in folders:
        (source / folder.relative_to(ROOT)).mkdir(parents=True, exist_ok=True)
        pages[f"figures/{folder.name}/index.md"] = stage_gallery(folder, source)
    figures = [f"{folder.name}/index" for folder in folders]
    pages["figures/index.md"] = stage_folder("Figures and tables", figures)
    cards = sorted(path.stem for path in (ROOT / "weights").glob("*.md"))
    pages["weights/index.md"] = stage_folder("Model cards", cards)
    for name, text in pages.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")


def build(folder: Path) -> Path:
    """Build the book from nothing in a folder of its own; return its first page.

    A warning is an error.
    """
    try:
        import furo  # noqa: F401
        import myst_nb  # noqa: F401
    except ImportError as error:
        raise BookError(f"{error}; run: make book, which installs requirements-book.txt") from error
    shutil.rmtree(folder, ignore_errors=True)
    stage(folder / "source")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    command += ["-d", folder / "doctrees", folder / "source", folder / "html"]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}).returncode:
        raise BookError("Sphinx found fault with the pages, see above")
    return folder / "html" / "index.html"


def main() -> int:
    """Build the book and say where it is; return the exit status."""
    try:
        print(f"The book: {build(ROOT / 'build' / 'book').relative_to(ROOT)}")
    except (BookError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
