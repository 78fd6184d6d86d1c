"""RESULTS.md, made of the committed tables: ``python -m benchmarks.results``.

The sentences are a person's and stand in ``results.md`` beside this file. Numbers are looked up:
``{table1[after|baseline-lite0|CC].value:.3f}`` is a table, a row by its keys, and a column.
"""

import json
import re
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pandas as pd

from benchmarks.verdicts import (
    AFTER,
    BLIND,
    COUNTERPARTS,
    STATISTICS,
    TABLES,
    VERDICTS,
    Row,
    Rows,
    Tables,
    compared,
    compared_on_sacid,
    value,
)
from lib.paths import ROOT
from lib.report import require
from lib.store import write_atomically

MODELS, FILLS = ("baseline-lite0", "baseline-lite1"), ("black", "mean", "blur")
ORDERS = ("saliency", "GradCAM", "patches", "centre", "chance", "another's saliency")
PRINTED = ("PSNR", "EW-PSNR", "SSIM", "EW-SSIM", "SGDNet-Output", "DBCNN")  # of Table III
CAMS, MEASURES = "GradCAM from IQA", ("NSS", "SIM", "CC", "KLD")  # of Table I
PREDICTOR = "Lite0 read-out (ours), cross-validated"


def grid(rows: Iterable[dict]) -> str:
    """Write a table in Markdown; no line breaks inside an interval."""
    rows = [*rows]
    lines = [[*rows[0]], ["---"] * len(rows[0]), *(map(str, row.values()) for row in rows)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return re.sub(r"(?<=\d,) (?=[-+]?\d\.)|(?<=\d) (?=±)|(?<=±) ", "\u00a0", text)


def counts(numbers: dict[str, pd.DataFrame]) -> str:
    """Count verdicts, table by table."""
    rows = []
    for title, table in numbers.items():
        words = list(table.verdict)
        rows.append({"of the paper": title, "numbers": len(words)})
        rows[-1] |= {word: words.count(word) for word in VERDICTS}
    total = {name: sum(row[name] for row in rows) for name in [*rows[0]][1:]}
    return grid([*rows, {"of the paper": "all"} | total])


def rows(tables: Tables, name: str, title: str, methods, columns, write=value) -> list[dict]:
    """Lay out one table: a row a method, `columns` from a heading to the keys of its cell."""
    found = []
    for method in methods:
        cells = {head: tables.get(name, keys.format(method)) for head, keys in columns.items()}
        found.append({title: method} | {head: write(row) for head, row in cells.items()})
    return found


def short_tables(tables: Tables) -> dict[str, str]:
    """Write, for each claim, the rows that a reader needs first."""
    maps = ["CenterPrior", *MODELS, "control-synthetic", "ImageNet trunk only", "spectral residual"]
    stages = {"": "as extracted", ", transformed": AFTER}
    columns1 = {m + end: f"{s}|{{}}|{m}" for end, s in stages.items() for m in ("NSS", "CC")}
    columns2 = {f"{m[9:]}, {f}": f"{m}|{f}|{{}}|SROCC" for m, f in product(MODELS, FILLS)}
    networks = ["CenterPrior", "Baseline", "Baseline, one pass", *[*COUNTERPARTS][-2:], PREDICTOR]
    columns3 = {"SROCC, held out": "held-out photographs|{}|SROCC"}
    columns3["SROCC, other source"] = "photographs of another kind|{}|SROCC"
    columns3 |= {f"{m}, OSIE": f"as extracted|{{}}|{m}" for m in ("NSS", "CC")}
    columns3["CC, Scene"] = "Scene, as extracted|{}|CC"
    dummies, columns4 = (BLIND, "Perfect metric"), {m: f"{{}}|{m}" for m in STATISTICS}
    bench, paper = (
        rows(tables, "bounds", "dummy or metric", dummies, columns4),
        Rows(tables, "paper3"),
    )
    for name in PRINTED:
        cells = {m: f"{getattr(paper[name], column):.3f}" for m, column in STATISTICS.items()}
        bench.append({"dummy or metric": f"{name} (paper)"} | cells)
    return {
        "claim1": grid(rows(tables, "table1", "map", [*maps, PREDICTOR], columns1)),
        "claim2": grid(rows(tables, "areas", "pixels ordered by", ORDERS, columns2, signed)),
        "claim3": grid(rows(tables, "table2", "network", networks, columns3)),
        "traps": traps(tables),
        "presets": presets(tables),
        "bench": grid(bench),
    }


def signed(row: Row) -> str:
    """Write a difference with its interval."""
    return f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"


def traps(tables: Tables) -> str:
    """Write what GradCAM-Loss learns in either trap, and in both: means over repeats."""
    tables.used.setdefault("traps", (0, "CC"))
    columns = ("network", "SROCC", "CC", "empty maps")
    each = pd.DataFrame({c: tables.column("traps", c) for c in columns})
    means = each.groupby("network", sort=False).mean()
    return grid({"network": n} | {c: f"{x:.3f}" for c, x in r.items()} for n, r in means.iterrows())


def presets(tables: Tables) -> str:
    """Write what each preset does to a picture, and what people said of it."""
    gains, votes, found = Rows(tables, "gains"), Rows(tables, "votes"), []
    for name in ("p132", "p220", "p310"):
        row = {"preset": name}
        for region, title in {"inside": "salient quarter", "outside": "outside"}.items():
            row[title] = f"{gains[f'{name}|0.120000|{region}'].gain:+.2f}"
        row["whole"] = f"{gains[f'{name}|0.120000|whole'].gain:+.2f}"
        said = votes[f"{name}|all bitrates"]
        row["photographs where people prefer it"] = f"{said.wins} of {said.n}"
        row["gain in score"] = f"{said.mean_difference:+.2f} [{said.low:+.2f}, {said.high:+.2f}]"
        found.append(row)
    return grid(found)


def facts(tables: Tables, numbers: dict[str, pd.DataFrame]) -> dict:
    """Compute what the sentences say of many rows at once."""
    t = {name: Rows(tables, name) for name in TABLES}
    cases = [f"{model}|{fill}|" for model, fill in product(MODELS, FILLS)]
    area = {
        kind: [t["areas"][f"{c}{kind}|SROCC"] for c in cases] for kind in ("saliency", "centre")
    }
    patches = [t["pairs"][f"{case}saliency − patches|SROCC"] for case in cases]
    alike = {b: [t["alike"][f"{c}{b}|SROCC"].value for c in cases] for b in ("nothing", "chance")}
    own = [t["first"][f"{c}saliency − another's saliency|0.333333"] for c in cases]
    wider = [t["pairs"][f"{c}saliency − another's saliency|SROCC"] for c in cases]
    above = sum(row.low > 0 for row in wider)
    cams, prior, salicon = [], t["paper1"]["CenterPrior"], t["paper2"]["Baseline"]
    for name in tables.column("paper1", "method")[tables.column("paper1", "group") == CAMS]:
        row, less = t["paper1"][name], {"KLD"}  # less KLD is better
        cams += [(getattr(row, m) < getattr(prior, m)) == (m in less) for m in MEASURES]
    twice = [getattr(t["paper1"]["Baseline-EfficientNet"], m) for m in MEASURES]
    ours = numbers["Table I"].query("verdict != 'reference' and n != ''").verdict
    blind = {m: t["bounds"][f"{BLIND}|{m}"].value for m in ("SROCC", "PLCC")}
    ratio = [c.value / s.value for s, c in zip(*area.values(), strict=True)]
    coded = {c: tables.column("encodes", c) for c in ("encodes", "bpp", "target_bpp", "reachable")}
    tables.used.setdefault("encodes", (0, "encodes"))
    return {
        "of_ours": [(ours == "agree").sum(), len(ours)],
        "area": {k: [min(r.value for r in v), max(r.value for r in v)] for k, v in area.items()},
        "areas_above": sum(row.low > 0 for row in area["saliency"]),
        "cases": len(cases),
        "centre_share": 100 * max(ratio),
        "patches": [sum(r.value > 0 for r in patches), sum(r.low > 0 for r in patches)],
        "own": [min(row.value for row in own), max(row.value for row in own)],
        "own_above": sum(row.low > 0 for row in own),
        "own_area": [min(r.value for r in wider), max(r.value for r in wider), above],
        "alike": {beyond: [min(values), max(values)] for beyond, values in alike.items()},
        "encoded": coded["reachable"].sum(),
        "pictures": len(coded["bpp"]),
        "photographs": tables.column("encodes", "sequence").nunique(),
        "effort": coded["encodes"].mean(),
        "off": 100 * (coded["bpp"] / coded["target_bpp"] - 1).abs().max(),
        "above": {m: (tables.column("paper3", m) > level).sum() for m, level in blind.items()},
        "metrics": len(tables.column("paper3", "method")),
        "ahead": [sum(cams), len(cams)],
        "same": sum(
            v == getattr(salicon, f"SALICON {m}") for v, m in zip(twice, MEASURES, strict=True)
        ),
        "made": t["bounds"][f"{BLIND}|SROCC"].n * tables.column("encodes", "test_case").nunique(),
    }


def parameters(root: Path, profile: str) -> dict[str, dict]:
    """Read with what parameters the committed results were made."""
    path = root / "figures" / profile / "provenance.json"
    require(path.is_file(), f"figures/{profile}/provenance.json is not there: git checkout it")
    made = json.loads(path.read_text(encoding="utf-8"))
    return {result: found["parameters"] for result, found in made.items()}


def render(tables: Tables) -> str:
    """Fill in the page."""
    numbers = {"Table I": compared(tables, 1), "Table II": compared(tables, 2)}
    numbers["Table III"] = compared_on_sacid(tables)
    fields = {name: Rows(tables, name) for name in TABLES} | short_tables(tables)
    fields |= {
        name.replace("Table ", "all"): grid(t.to_dict("records")) for name, t in numbers.items()
    }
    fields |= facts(tables, numbers) | {"counts": counts(numbers)}
    fields["roles"] = grid(
        {"the paper's": p, "ours": o} for p, o in COUNTERPARTS.items() if p != "Center Prior"
    )
    fields["files"] = " · ".join(f"[{file}]({file})" for file, _ in TABLES.values())
    fields["open"], fields["sample"] = (parameters(tables.root, p) for p in ("open", "sample"))
    return Path(__file__).with_suffix(".md").read_text(encoding="utf-8").format(**fields)


def main() -> None:
    """Write RESULTS.md, or say in a sentence which table is in the way."""
    try:
        page = render(Tables())
    except ValueError as error:
        raise SystemExit(str(error)) from error
    write_atomically(ROOT / "RESULTS.md", lambda p: p.write_text(page, encoding="utf-8"))


if __name__ == "__main__":
    main()
