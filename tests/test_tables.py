"""Tables as spreadsheets write them: read right, or one sentence with the file and the line."""

import pytest

from lib.tables import read_csv

PLAIN = "name,score\r\nNA,0.5\r\n001,1e-1\r\n"
READ = {
    "as it stands": PLAIN,
    "mark at the start": b"\xef\xbb\xbf" + PLAIN.encode(),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16, other way round": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "semicolons and decimal commas": 'name;score\nNA;0,5\n"001";,1\n',
    "decimal commas in quotes": 'name,score\nNA,"0,5"\n001,"0,1"\n',
    "tabs, lines of an old Mac": "score\tname\r.5\tNA\r0.1\t001\r",
    "Excel's note": "sep=;\nname;score\nNA;0.5\n001;0.1\n",
    "blanks, blank lines, empty columns": "\n name , score,,\n\nNA ,0.5,,\n,,,\n 001, 0.1 ,,\n\n",
    "an index, a note, no last line end": ",name,score,note\n0,NA,0.5,null\n1,001,.1,",
}


@pytest.mark.parametrize("content", READ.values(), ids=READ)
def test_a_table_reads_the_same_however_a_spreadsheet_writes_it(tmp_path, content):
    path = tmp_path / "scores.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_csv(path, ["name"], ["score"])
    assert table.to_dict("list") == {"name": ["NA", "001"], "score": [0.5, 0.1]}


REFUSED = {
    "nothing": ("", " must have the columns name, score, each once"),
    "a header alone": ("name,score\n\n", " has no row below its columns"),
    "other columns": ("name;mos\na;1\n", " must have the columns name, score"),
    "a column twice": (
        "name,score,score\na,1,2\n",
        " must have the columns name, score, each once",
    ),
    "a web page": ("<html>404, sorry</html>\n", " must have the columns"),
    "latin-1": ("name,score\na,1\ncaf\xe9,2\n".encode("latin-1"), ', line 3: .* "CSV UTF-8"'),
    "half of UTF-16": (PLAIN.encode("utf-16-le"), ', line 1: .* "CSV UTF-8"'),
    "cut UTF-16": (PLAIN.encode("utf-16")[:-1], ', line 3: .* "CSV UTF-8"'),
    "decimal comma without quotes": ("name,score\na,0,5\n", ", line 2: 3 fields under 2 columns"),
    "the same, room beside it": ("name,score,,\na,0,5,\n", ", line 2: 4 fields under 2 columns"),
    "an open quote": ('name,score\na,1\n"b,2\nc,3\n', ", line 3: unexpected end of data; mend"),
    "a missing score": ("name,score\na,1\n\nb\n", ", line 4: no score; fill it in"),
    "a missing name": ("name,score\n,1\n", ", line 2: no name; fill it in"),
}
REFUSED |= {
    word: (f"name,score\na,{word}\n", f", line 2: score {word!r} is no number; mend it")
    for word in ("good", "NaN", "inf", "1e999", "1_0", "0x1", "1.000.5", "٣")
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_right_is_one_sentence_with_its_line(tmp_path, content, message):
    path = tmp_path / "scores.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"^.*scores\.csv{message}"):
        read_csv(path, ["name"], ["score"])
