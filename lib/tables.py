"""Tables from outside: CSV as the spreadsheets of any country write it, read right or refused."""

import csv
import io
import math
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

NUMBER = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+)([eE][-+]?\d+)?", re.ASCII)


def read_csv(path: Path, texts: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """Read two or more columns of a table by name: text as it stands, and finite numbers (float64).

    UTF-8 or UTF-16; commas, semicolons or tabs between fields, a point or a comma in numbers. Blank
    lines and blanks around a field don't count; NA, null and 001 are names like any other. The
    index is each row's line in the file. Whatever can't be read so is a ValueError that names the
    file, the line and the mend.
    """
    needed, (header, *rows) = [*texts, *numbers], _fields(path, [*texts, *numbers])
    if not rows:
        raise ValueError(f"{path} has no row below its columns; mend it, or download it again")
    names, columns = header[1], {name: [] for name in needed}
    end = max(place for place, name in enumerate(names, 1) if name)
    for line, fields in rows:
        if any(fields[end:]):  # such as 0,5 without quotes: the 5 must not get lost
            raise ValueError(
                f"{path}, line {line}: {len(fields)} fields under {end} columns; put quotes around "
                "a field with a comma in it"
            )
        found = dict(zip(names, fields, strict=False))
        for name in needed:
            field = found.get(name, "")
            if not field:
                raise ValueError(f"{path}, line {line}: no {name}; fill it in, or drop the line")
            if name in numbers:
                value = float(field.replace(",", ".")) if NUMBER.fullmatch(field) else math.nan
                if not math.isfinite(value):
                    raise ValueError(f"{path}, line {line}: {name} {field!r} is no number; mend it")
                field = value
            columns[name].append(field)
    return pd.DataFrame(columns, index=[line for line, _ in rows])


def _fields(path: Path, needed: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Split a table into fields, from the row that names its columns on: (line, fields) a row."""
    text = re.sub(r"\Asep=.(?=[\r\n])", "", _text(path))  # Excel's note to itself
    first = next((line for line in text.splitlines() if line.strip()), "")
    for mark in ",;\t":
        names = [name.strip() for name in next(csv.reader([first], delimiter=mark), [])]
        if all(names.count(name) == 1 for name in needed):
            break
    else:
        raise ValueError(
            f"{path} must have the columns {', '.join(needed)}, each once, in its first line; mend "
            "it, or download it again"
        )
    lines, found = io.StringIO(text, newline=""), []
    reader = csv.reader(lines, delimiter=mark, skipinitialspace=True, strict=True)
    try:
        for fields in reader:
            found.append((reader.line_num, [field.strip() for field in fields]))
    except csv.Error as error:
        line = found[-1][0] + 1 if found else 1
        raise ValueError(f"{path}, line {line}: {error}; mend its quotes") from error
    return [row for row in found if any(row[1])]


def _text(path: Path) -> str:
    raw = Path(path).read_bytes()
    encoding = "utf-16" if raw[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig"
    text = raw.decode(encoding, "replace")
    # Other encodings can't be told apart: a guess would change names without a word.
    for bad in "\ufffd\0":
        if bad in text:
            line = len(text[: text.index(bad)].splitlines()) or 1
            raise ValueError(f'{path}, line {line}: not UTF-8; save the table as "CSV UTF-8"')
    return text
