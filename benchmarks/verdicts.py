"""The paper's numbers beside ours, and the one rule that compares them (for RESULTS.md)."""

from itertools import product
from pathlib import Path

import pandas as pd

from lib.paths import ROOT
from lib.report import require

OPEN, SAMPLE, PAPER = "figures/open", "figures/sample", "lib/paper"
BY_METHOD = ["stage", "method", "metric"]
TABLES = {  # a short name -> file, and the columns that name a row
    "table1": (f"{OPEN}/table1.csv", BY_METHOD),
    "scene": (f"{OPEN}/table1_scene.csv", BY_METHOD),
    "sizes": (f"{OPEN}/table1_scene_sizes.csv", ["read", *BY_METHOD]),
    "small": (f"{OPEN}/table1_osie_256.csv", BY_METHOD),
    "controls": (f"{OPEN}/table1_controls.csv", BY_METHOD),
    "table2": (f"{OPEN}/table2.csv", BY_METHOD),
    "equal": (f"{OPEN}/table2_equivalence.csv", ["method"]),
    "tried": (f"{OPEN}/table2_weights.csv", ["method", "weight"]),
    "traps": (f"{OPEN}/table2_traps.csv", ["network", "repeat"]),
    "curves": (f"{OPEN}/figure2.csv", ["model", "map", "strategy", "fill", "share", "measure"]),
    "areas": (f"{OPEN}/figure2_areas.csv", ["model", "fill", "map", "measure"]),
    "pairs": (f"{OPEN}/figure2_differences.csv", ["model", "fill", "maps", "measure"]),
    "alike": (f"{OPEN}/figure2_agreement.csv", ["model", "fill", "beyond", "measure"]),
    "first": (f"{OPEN}/figure2_most_relevant_first.csv", ["model", "fill", "maps", "share"]),
    "speed": ("figures/bench/bench.csv", ["what"]),
    "gaze": (f"{OPEN}/figure2_gaze_areas.csv", ["model", "fill", "map"]),
    "encodes": (f"{OPEN}/sacid_encodes.csv", ["sequence", "test_case"]),
    "gains": (f"{OPEN}/sacid_gains.csv", ["preset", "bpp", "region"]),
    "votes": (f"{OPEN}/sacid_published_tests.csv", ["preset", "bitrate"]),
    "bounds": (f"{SAMPLE}/sacid_bounds.csv", ["method", "metric"]),  # of people's scores, see 05
    "sample1": (f"{SAMPLE}/table1.csv", BY_METHOD),
    "sample2": (f"{SAMPLE}/table2.csv", BY_METHOD),
    "sample3": (f"{SAMPLE}/table3.csv", ["method", "metric"]),
    "paper1": (f"{PAPER}/table1.csv", ["method"]),
    "paper2": (f"{PAPER}/table2.csv", ["method"]),
    "paper3": (f"{PAPER}/table3.csv", ["method"]),
}
AFTER = "after"  # the map transforms of [45], which the paper applies before it measures
COUNTERPARTS = {  # the paper's own networks, and ours by its recipe: smaller, on other data
    "CenterPrior": "CenterPrior",
    "Center Prior": "CenterPrior",
    "Baseline-EfficientNet": "baseline-lite0",
    "Baseline-ResNet50": "baseline-lite1",
    "Baseline": "Baseline",
    "Baseline-Sal-Loss": "Baseline-Sal-Loss",
    "Baseline-GradCAM-Loss": "Baseline-GradCAM-Loss",
}
PLACES = {  # where the paper measured -> our stage
    "KonIQ-10k": ("held-out photographs", "BIQ2021"),
    "CLIVE": ("photographs of another kind", "BIQ2021, other source"),
    "SALICON": (AFTER, "OSIE"),
    "CAT2000": (f"Scene, {AFTER}", "Scene"),
}
STATISTICS = {"SROCC": "SROCC", "PLCC": "PLCC", "KRCC†": "KRCC_dagger"}
BLIND = "Target bitrate"  # the dummy that never sees a picture
VERDICTS = ("agree", "differ", "cannot tell", "reference")


class Row:
    """A row of a table. Which cells are asked for is written down in `Tables.used`."""

    def __init__(self, tables: "Tables", name: str, place: int):
        self._at = (tables, name, place)

    def __getattr__(self, column):
        if column == "interval":
            return f"[{self.low:.3f}, {self.high:.3f}]"
        if column == "gap":  # what lies between two methods, with its sign
            least, most = self.difference_low, self.difference_high
            return f"{self.difference:+.3f} [{least:+.3f}, {most:+.3f}]"
        tables, name, place = self._at
        return tables.cell(name, place, column)


class Tables:
    """The committed tables under a checkout, each read when first asked for."""

    def __init__(self, root: Path = ROOT):
        self.root, self.frames, self.places, self.used = Path(root), {}, {}, {}

    def frame(self, name: str) -> pd.DataFrame:
        """Return a table of `TABLES`, by its short name."""
        if name not in self.frames:
            file, keys = TABLES[name]
            require((self.root / file).is_file(), f"{file} is not there: git checkout {file}")
            table = pd.read_csv(self.root / file, dtype=dict.fromkeys(keys, str))
            for key in keys:
                require(key in table, f"{file} has no column {key!r}")
            if "stage" in table:  # a bracket can't stand in a field of the text
                table["stage"] = table.stage.str.replace(" the map transforms of [45]", "")
            rows = ("|".join(row) for row in table[keys].to_numpy())
            self.frames[name], self.places[name] = table, {row: i for i, row in enumerate(rows)}
        return self.frames[name]

    def column(self, name: str, column: str) -> pd.Series:
        """Return a column."""
        require(column in self.frame(name), f"{TABLES[name][0]} has no column {column!r}")
        return self.frame(name)[column]

    def cell(self, name: str, place: int, column: str):
        """Return the value in a row, and remember what was read of each table first."""
        self.used.setdefault(name, (place, column))
        return self.column(name, column).iloc[place]

    def get(self, name: str, keys: str) -> Row | None:
        """Find a row by its keys, joined by bars, if it is there."""
        self.frame(name)
        place = self.places[name].get(keys)
        return None if place is None else Row(self, name, place)


class Rows:
    """One table as the text asks for it: ``{votes[p220|all bitrates].wins}``."""

    def __init__(self, tables: Tables, name: str):
        self.tables, self.name = tables, name

    def __getitem__(self, keys: str) -> Row:
        row = self.tables.get(self.name, keys)
        require(row is not None, f"{TABLES[self.name][0]} has no row {keys.replace('|', ', ')}")
        return row


def verdict(printed: float, reference: float, ours: Row | None, why: str) -> str:
    """Hold one printed number against ours: the rule of the page, in words there."""
    if ours is None:
        return f"cannot tell: {why}"
    if printed == reference:
        return "cannot tell: the paper's difference is 0"
    if not (ours.difference_low > 0 or ours.difference_high < 0):
        return "cannot tell: our interval holds 0"
    return "agree" if (ours.difference_low > 0) == (printed > reference) else "differ"


def value(row: Row | None) -> str:
    """Write a value with what is known of its spread: over repeats, else an interval."""
    if row is None:
        return ""
    tables, name, _ = row._at
    if "std" in tables.frame(name):
        return f"{row.value:.3f}" + ("" if pd.isna(row.std) else f" ± {row.std:.3f}")
    return f"{row.value:.3f}" + (f" {row.interval}" if row.low < row.high else "")


def compared(tables: Tables, number: int) -> pd.DataFrame:
    """Every number that the paper prints in Table I or II, and ours beside it."""
    paper, rows = tables.frame(f"paper{number}"), []
    reference = list(paper.method).index("CenterPrior" if number == 1 else "Baseline")
    cells = product(enumerate(paper.method), paper.select_dtypes("number"))
    for (place, method), column in ((m, c) for m, c in cells if pd.notna(paper[c].iloc[m[0]])):
        name = f"SALICON {column}" if number == 1 else column
        where, metric = name.split()
        printed, base = (tables.cell(f"paper{number}", i, column) for i in (place, reference))
        ours, sample, first, data = None, None, place == reference, ""
        if method in COUNTERPARTS:
            stage, data = PLACES[where]
            keys = stage, COUNTERPARTS[method], "NSS-paper" if metric == "NSS" else metric
            ours, sample = (tables.get(f"{t}{number}", "|".join(keys)) for t in ("table", "sample"))
        row = {"the paper's row": method, "measure": name, "paper": f"{printed:.3f}"}
        said = "reference" if first else verdict(printed, base, ours, "weights out of reach")
        row["verdict"], _, why = said.partition(": ")
        row["from reference"] = "" if first else f"{printed - base:+.3f}"
        row["from reference, ours"] = "" if first or ours is None else ours.gap
        row["ours, `open`: people"] = value(ours)
        row["ours, `sample`: simulated"] = value(sample)
        row["n"] = "" if ours is None else f"{ours.n} / {0 if sample is None else sample.n}"
        row["our data, weights"] = "" if ours is None else f"{data}; {keys[1]}"
        row["why"] = why
        rows.append(row)
    return pd.DataFrame(rows)


def compared_on_sacid(tables: Tables) -> pd.DataFrame:
    """Every number of Table III. Ours are simulated: only the blind dummy stands on people."""
    rows, dummies = [], Rows(tables, "bounds")
    for (place, method), metric in product(enumerate(tables.frame("paper3").method), STATISTICS):
        printed = tables.cell("paper3", place, STATISTICS[metric])
        sample, dummy = tables.get("sample3", f"{method}|{metric}"), dummies[f"{BLIND}|{metric}"]
        row = {"the paper's row": method, "measure": metric, "paper": f"{printed:.3f}"}
        row["verdict"] = "cannot tell"
        row["less the bitrate alone"] = f"{printed - dummy.value:+.3f}"
        row["ours, `sample`: simulated"] = value(sample)
        row["n"] = "" if sample is None else f"0 / {sample.n}"
        row["why"] = "pictures out of reach"
        rows.append(row)
    return pd.DataFrame(rows)
