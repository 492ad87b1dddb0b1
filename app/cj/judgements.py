"""One's own judgements as CSV: who was compared with whom, what the judge said, and what of it cannot be read."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from app.cj.statistics.bradley_terry import Verdicts
from app.errors import InvalidRequest

REQUIRED = ("item_a", "item_b", "winner")
OPTIONAL = ("n", "judge", "confidence")
MOST_JUDGEMENTS = 200_000
"""In all, `n` counted: each is a row of its own when halves are drawn, and 20 pairs of halves are fitted."""

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SHARES = {"a": 1.0, "b": 0.0, "tie": 0.5}
_EXPORTED = ("essay_a", "essay_b", "winner", "state")
_EXPORTED_JUDGE = ("provider", "model", "prompt_version")
_DECIDED = "decided"
_COUNT = re.compile(r"[0-9]{1,9}")
_SHARE = re.compile(r"[0-9]*\.?[0-9]+(e-?[0-9]{1,3})?|[0-9]+\.", re.IGNORECASE)
_ESCAPED = re.compile(r"'[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - an apostrophe that our export put there
_SHOWN = 60

Fault = tuple[str, str]
"""Where, such as `line 3`, and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Judgements:
    """What a file holds. Items and judges are numbered in the order in which they first appear.

    A file without judges is taken for the work of one judge, whose name is then empty.
    """

    items: tuple[str, ...]
    judges: tuple[str, ...]
    verdicts: Verdicts


def read_judgements(content: bytes) -> Judgements:
    """Read `item_a,item_b,winner[,n,judge,confidence]`, with commas, semicolons or tabs between.

    `winner` is a, b or tie; `n` says how many times (default 1, and 0 only makes the two items known);
    `confidence` is 0 to 1, or empty. The file `judgements.csv` that Juxta exports is read too: comparisons without a
    verdict and audits are left out, and a judge is a model under one version of its prompt.

    :raises InvalidRequest: `errors` and the message name every fault with its line.
    """
    reading = _Reading()
    columns: Mapping[str, int] = {}
    for line, row in _rows(_text(content)):
        if isinstance(row, str):
            reading.faults.append((_at(line), row))
        elif not columns:
            columns = _columns(row)
        elif len(row) != len(columns):
            reading.faults.append((_at(line), f"{len(row)} fields, where the header names {len(columns)}"))
        else:
            reading.add(line, {name: row[place].strip() for name, place in columns.items()})
    return reading.finish()


@dataclass(slots=True)
class _Reading:
    """Rows read so far."""

    faults: list[Fault] = field(default_factory=list)
    items: dict[str, int] = field(default_factory=dict)
    judges: dict[str, int] = field(default_factory=dict)
    rows: list[tuple[int, int, float, int, int, float]] = field(default_factory=list)

    def add(self, line: int, cells: dict[str, str]) -> None:
        """Take one row, or note what is wrong with it."""
        if "essay_a" in cells:
            if cells["state"] != _DECIDED or cells.get("audit_of"):
                return
            cells = _from_export(cells)
        found = list(_faults(cells))
        if found:
            self.faults += [(_at(line), fault) for fault in found]
            return
        count = int(cells.get("n") or 1)
        self.rows.append(
            (
                self.items.setdefault(cells["item_a"], len(self.items)),
                self.items.setdefault(cells["item_b"], len(self.items)),
                _SHARES[cells["winner"].casefold()],
                count,
                self.judges.setdefault(cells.get("judge", ""), len(self.judges)),
                float(cells.get("confidence") or "nan"),
            )
        )

    def finish(self) -> Judgements:
        """Pack what was read."""
        columns = tuple(zip(*self.rows, strict=True)) or ((),) * 6
        count = np.asarray(columns[3], dtype=np.int64)
        if not self.faults and not count.sum():
            self.faults.append((_at(1), "not one judgement below the header counts"))
        if count.sum() > MOST_JUDGEMENTS:
            self.faults.append(
                (
                    "all lines",
                    f"{count.sum():,} judgements, `n` counted; at most {MOST_JUDGEMENTS:,} are fitted",
                )
            )
        _refuse(self.faults)
        first, second, outcome, judge, confidence = (
            np.repeat(np.asarray(columns[place]), count) for place in (0, 1, 2, 4, 5)
        )
        verdicts = Verdicts(first, second, outcome, judge, confidence)
        return Judgements(tuple(self.items), tuple(self.judges), verdicts)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        _refuse([(_at(line), "this is not UTF-8; save the file as CSV UTF-8")])
        raise


def _rows(text: str) -> Iterator[tuple[int, list[str] | str]]:
    """Each row with the line on which it begins; a row that is no CSV ends the reading, and is a sentence."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield line, f"this is no CSV: {error}; what follows was not read"
            return
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield line, row
        line = reader.line_num + 1


def _delimiter(text: str) -> str:
    """What stands between the names of the header.

    The names hold none of the three, so that the choice is never a guess; when no name is known, the commonest.
    """
    header = next((line for line in text.splitlines() if line.strip()), "")
    known = {*REQUIRED, *_EXPORTED}
    found = {
        sign: sum(name.strip().strip('"').casefold() in known for name in header.split(sign))
        for sign in _DELIMITERS
    }
    return max(_DELIMITERS, key=lambda sign: (found[sign], header.count(sign)))


def _columns(header: list[str]) -> dict[str, int]:
    """Where each column stands."""
    names = [name.strip().casefold() for name in header]
    columns = {name: place for place, name in enumerate(names)}
    faults = [f"the column `{name}` stands there twice" for name in columns if names.count(name) > 1]
    if not set(_EXPORTED) <= columns.keys():
        faults += [f"the column `{name}` is missing" for name in REQUIRED if name not in columns]
        faults += [
            f"the column `{_short(name)}` is unknown"
            for name in columns
            if name not in {*REQUIRED, *OPTIONAL}
        ]
    _refuse(
        [(_at(1), fault) for fault in faults],
        hint=f"The header is {','.join(REQUIRED)} and, if you like, {','.join(OPTIONAL)}; between them stand "
        f"{', '.join(_DELIMITERS.values())}.",
    )
    return columns


def _from_export(cells: dict[str, str]) -> dict[str, str]:
    """One row of our own export, in the words of this file."""
    return {
        "item_a": _unescaped(cells["essay_a"]),
        "item_b": _unescaped(cells["essay_b"]),
        "winner": cells["winner"].removeprefix("essay_"),
        "judge": " ".join(filter(None, (_unescaped(cells.get(name, "")) for name in _EXPORTED_JUDGE)))
        or "unknown",
        "confidence": cells.get("confidence", ""),
    }


def _unescaped(cell: str) -> str:
    return cell[1:] if _ESCAPED.match(cell) else cell


def _faults(cells: dict[str, str]) -> Iterator[str]:
    """Everything that is wrong with one row."""
    one, other = cells["item_a"], cells["item_b"]
    for name in ("item_a", "item_b", "judge"):
        if cells.get(name) == "":
            yield f"`{name}` is empty"
        elif "\0" in cells.get(name, ""):
            yield f"`{name}` holds a NUL"
    if one and one == other:
        yield f"{_short(one)!r} is compared with itself"
    if cells["winner"].casefold() not in _SHARES:
        yield f"`winner` is {_short(cells['winner'])!r}, not a, b or tie"
    if (count := cells.get("n")) and not _COUNT.fullmatch(count):
        yield f"`n` is {_short(count)!r}, not a whole number from 0 to 999999999"
    sure = cells.get("confidence")
    if sure and not (_SHARE.fullmatch(sure) and float(sure) <= 1.0):
        yield f"`confidence` is {_short(sure)!r}, not a number from 0 to 1"


def _refuse(faults: list[Fault], *, hint: str = "") -> None:
    if faults:
        lines = "\n".join(f"{where}: {what}" for where, what in faults)
        raise InvalidRequest(
            f"The judgements cannot be read as they are:\n{lines}", errors=tuple(faults), hint=hint
        )


def _at(line: int) -> str:
    return f"line {line}"


def _short(cell: str) -> str:
    return cell if len(cell) <= _SHOWN else f"{cell[:_SHOWN]}…"
