"""The book: built from nothing, its links followed, every page read in a browser at two widths."""

import re
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from threading import Thread
from time import sleep
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from book import build
from lib.paths import ROOT
from tests.browser import Browser, program

LOADED = """(async () => {
    document.querySelectorAll("details").forEach(each => each.open = true);
    const images = [...document.images], formulas = [...document.querySelectorAll(".math")];
    images.forEach(each => each.loading = "eager");
    await Promise.all(images.map(i => i.complete || new Promise(r => i.onload = i.onerror = r)));
    if (window.MathJax) await MathJax.startup.promise;
    const bad = f => !f.querySelector("svg") || f.querySelector("[data-mjx-error]");
    return [
        ...images.filter(i => !i.naturalWidth).map(i => `empty picture ${i.src}`),
        ...formulas.filter(bad).map(f => `bad formula ${f.textContent}`),
    ];
})()"""
WIDE = """[document.documentElement, document.querySelector(".content")]
    .filter(e => e.scrollWidth > e.clientWidth)
    .map(e => `${e.localName} is ${e.scrollWidth} wide, not ${e.clientWidth}`)"""
FOUND = "[...document.querySelectorAll('#search-results li a')].map(a => a.pathname)"
LINK, SHEET_LINK = r'<(\w+)[^>]*? (?:href|src)="([^"]*)"', r"url\(['\"]?([^)'\"]+)|@import"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def broken(html):
    """Say which links lead to what is not there, and what is loaded from elsewhere."""
    pages = {p.relative_to(html).as_posix(): p.read_text("utf-8") for p in html.rglob("*.html")}
    for page, text in pages.items():
        for tag, link in re.findall(LINK, text):
            to = urlsplit(urljoin(page, unescape(link)))
            path, anchor = unquote(to.path), unquote(to.fragment)
            if to.scheme or to.netloc:
                if tag != "a" and to.scheme != "data":
                    yield f"{page} loads {link}"
            elif not (html / path).is_file():
                yield f"{page} leads to {link}, which is not there"
            elif anchor and path in pages and f'id="{anchor}"' not in pages[path]:
                yield f"{page} leads to {link}, and there is no such place"
    for sheet in html.rglob("*.css"):
        for url in re.findall(SHEET_LINK, sheet.read_text("utf-8")):
            if not url.startswith(("data:", "#")) and not (sheet.parent / url).is_file():
                yield f"{sheet.name} loads {url or 'another sheet'}"


@pytest.mark.slow
def test_the_book_is_whole_and_reads_well_on_a_phone_and_on_a_desk_without_a_network(tmp_path):
    if not (find_spec("furo") and find_spec("myst_nb")):
        pytest.skip("the book's packages are not installed; run: make setup BOOK=1")
    html = build.build(tmp_path / "book").parent
    pages = {path.relative_to(html).as_posix() for path in html.rglob("*.html")}
    notebooks = {f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks | {"index.html", "api/lib.cam.html", "references.html"} <= pages
    assert list(broken(html)) == []
    if not program():
        pytest.skip("the book is built, but there is no Chromium to read it in")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=html))
    Thread(target=server.serve_forever, daemon=True).start()
    browser = Browser(tmp_path / "profile", f"http://127.0.0.1:{server.server_port}/")
    faults = {}
    try:
        for page in sorted(pages):
            browser.open(page, width=390)
            wrong = browser.ask(LOADED) + browser.ask(WIDE)
            browser.resize(1280)
            faults[page], browser.faults = wrong + browser.ask(WIDE) + browser.faults, []
        browser.open("search.html?q=HiResCAM")
        for _ in range(100):
            if found := browser.ask(FOUND):
                break
            sleep(0.1)
        assert "/notebooks/01_saliency_extraction.html" in found
        faults["search"] = browser.faults
        assert not {page: said for page, said in faults.items() if said}
    finally:
        browser.process.terminate()
        server.shutdown()


def test_a_link_leads_to_the_page_about_a_file_or_to_its_copy_and_never_to_another_host(tmp_path):
    of = {
        "[a](../lib/models/baseline.py#L3)": "[a](../api/lib.models.baseline.md#L3)",
        "[a](../README.md), [b](../figures)": "[a](../index.md), [b](../figures/index.md)",
        "[![Open](https://a.org/b.svg)](https://a.org)": "[Open](https://a.org)",
        "`[a](../lib/cam.py)`": "`[a](../lib/cam.py)`",
        "[a](../LICENSE)": "[a](../LICENSE)",
    }
    for written, expected in of.items():
        assert build.relink(written, build.Path("notebooks/a.ipynb"), tmp_path) == expected
    assert (tmp_path / "LICENSE").is_file()
    with pytest.raises(build.BookError, match=r"a.md links to absent.md, which is not there"):
        build.relink("[a](absent.md)", build.Path("a.md"), tmp_path)


def test_the_books_lock_holds_what_it_asks_for_and_agrees_with_the_other():
    locks = [
        dict(re.findall(r"^(\w[\w.-]*)==([^ ;\n]+)", (ROOT / name).read_text(), re.M))
        for name in ("requirements.txt", "requirements-book.txt")
    ]
    asked = re.findall(r"^[\w-]+", (ROOT / "requirements-book.in").read_text(), re.M)
    assert asked and set(asked) <= locks[1].keys()
    assert all(locks[0].get(name, version) == version for name, version in locks[1].items())
