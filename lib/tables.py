"""Tables from outside: CSV as the spreadsheets of any country write it, read right or refused."""

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

NUMBER = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?", re.ASCII)


def read_csv(path: Path, texts: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """Read columns of a table by name: text as it stands (NA, null, 001), and finite float64.

    UTF-8 or UTF-16; commas, semicolons or tabs between fields, a point or a comma in numbers; blank
    lines and blanks around a field don't count. The index is each row's line in the file. Anything
    else is a ValueError that names the file, the line and the mend.
    """
    needed = [*texts, *numbers]
    (_, names), *rows = _fields(path, needed)
    end, columns = max(n for n, name in enumerate(names, 1) if name), {name: [] for name in needed}
    for line, fields in rows:
        if any(fields[end:]):  # such as 0,5 without quotes: the 5 must not get lost
            raise _bad(path, line, f"{len(fields)} fields under {end} columns; quote commas in one")
        found = dict(zip(names, fields, strict=False))
        for name in needed:
            if not (field := found.get(name)):
                raise _bad(path, line, f"no {name}; fill it in, or drop the line")
            if name in numbers:
                value = float(field.replace(",", ".")) if NUMBER.fullmatch(field) else math.nan
                if not math.isfinite(value):
                    raise _bad(path, line, f"{name} {field!r} is no number; mend it")
            columns[name].append(value if name in numbers else field)
    if not rows:
        raise ValueError(f"{path} has no row below its columns; mend it, or download it again")
    return pd.DataFrame(columns, index=[line for line, _ in rows])


def _bad(path: Path, line: int, why: str) -> ValueError:
    return ValueError(f"{path}, line {line}: {why}")


def _fields(path: Path, needed: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Split a table into rows, the columns' names first: the line of each, and its fields."""
    raw = Path(path).read_bytes()
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
    # Other encodings can't be told apart: a guess would change names without a word.
    if odd := re.search("[\ufffd\0]", text):
        line = len(text[: odd.start()].splitlines()) or 1
        raise _bad(path, line, 'not UTF-8; save the table as "CSV UTF-8"')
    text, found = re.sub(r"\Asep=.(?=[\r\n])", "", text), []  # Excel's note to itself
    first = next((line for line in text.splitlines() if line.strip()), "")
    for mark in ",;\t":
        names = [name.strip() for name in next(csv.reader([first], delimiter=mark), [])]
        if all(names.count(name) == 1 for name in needed):
            break
    else:
        what = f"the columns {', '.join(needed)}, each once, in its first line"
        raise ValueError(f"{path} must have {what}; mend it, or download it again")
    options = {"delimiter": mark, "skipinitialspace": True, "strict": True}
    reader = csv.reader(io.StringIO(text, newline=""), **options)
    try:
        found += ((reader.line_num, [field.strip() for field in fields]) for fields in reader)
    except csv.Error as error:
        line = found[-1][0] + 1 if found else 1
        raise _bad(path, line, f"{error}; mend its quotes") from error
    return [row for row in found if any(row[1])]
