"""Essays from files: txt, md, zip and csv. Everything that is wrong is named per file before anything is spent."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import ValidationError

from app.cj.batch import NewEssay
from app.contracts import LLMConfigOverrides

MOST_BYTES = 200_000
MOST_FILES = 10_000
MOST_UNPACKED = 50_000_000
FEW_WORDS = 50
_TEXT = frozenset({".txt", ".md"})
_COLUMNS = ("name", "text", "level")


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about one file. A `fatal` one keeps the file out; the others are for the teacher to judge."""

    file: str
    message: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class HandedIn:
    """The essays found, and what is to be said of the files."""

    essays: tuple[NewEssay, ...]
    remarks: tuple[Remark, ...]

    @property
    def faults(self) -> tuple[Remark, ...]:
        """The remarks that kept a file out."""
        return tuple(remark for remark in self.remarks if remark.fatal)


class UnreadableFileError(ValueError):
    """A file that holds no essay; the message says why."""


def read_files(files: Sequence[tuple[str, bytes]], *, least_words: int = 0) -> HandedIn:
    """Turn (name, content) pairs into essays; never raises for what a file holds."""
    essays: list[NewEssay] = []
    remarks: list[Remark] = []
    for file, content in files:
        try:
            found = [
                NewEssay(name=name, text=text, level=level) for name, text, level in _open(file, content)
            ]
        except UnreadableFileError as error:
            remarks.append(Remark(file, str(error), fatal=True))
        except ValidationError as error:
            fault = error.errors(include_input=False)[0]
            remarks.append(
                Remark(file, f"cannot be used: {fault['loc'][0]}: {fault['msg'].lower()}", fatal=True)
            )
        else:
            essays += found
    return HandedIn(tuple(essays), (*remarks, *doubts(essays, least_words=least_words)))


def least_words(judges: Sequence[LLMConfigOverrides]) -> int:
    """How many words an essay needs so that each of these judges can judge it."""
    return FEW_WORDS if any(judge.provider == "rules" for judge in judges) else 0


def doubts(essays: Sequence[NewEssay], *, least_words: int = 0) -> Iterator[Remark]:
    """What keeps essays from being ranked (fatal), and what a teacher should look at."""
    names = Counter(essay.name for essay in essays)
    for name, times in names.items():
        if times > 1:
            yield Remark(name, f"{times} essays have this name; each needs its own", fatal=True)
    first: dict[str, str] = {}
    for essay in essays:
        words = essay.text.split()
        if not words:
            yield Remark(essay.name, "is empty", fatal=True)
            continue
        twin = first.setdefault(" ".join(words).casefold(), essay.name)
        if twin != essay.name:
            yield Remark(essay.name, f"has the same text as {twin}", fatal=True)
        if len(words) < FEW_WORDS:
            yield Remark(
                essay.name,
                f"has only {len(words)} words; the rules judge refuses fewer than {FEW_WORDS}",
                fatal=len(words) < least_words,
            )


def _open(file: str, content: bytes) -> Iterator[tuple[str, str, str | None]]:
    """Yield (name, text, level) of every essay in one file."""
    kind = PurePosixPath(file.lower()).suffix
    if kind == ".zip":
        yield from _unzip(content)
    elif kind == ".csv":
        yield from _rows(_decode(content, limit=MOST_UNPACKED))
    elif kind in _TEXT:
        text = _decode(content, limit=MOST_BYTES).strip()
        if not text:
            raise UnreadableFileError("is empty")
        yield PurePosixPath(file).stem, text, None
    else:
        raise UnreadableFileError(f"is of kind {kind or 'unknown'}; Juxta reads .txt, .md, .zip and .csv")


def _decode(content: bytes, *, limit: int) -> str:
    if len(content) > limit:
        raise UnreadableFileError(f"has {len(content):,} bytes; at most {limit:,} are read")
    if b"\x00" in content[:4096]:
        raise UnreadableFileError("is a binary file, not text")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"is not UTF-8 text (byte {error.start:,}); save it as UTF-8") from error


def _unzip(content: bytes) -> Iterator[tuple[str, str, str | None]]:
    """Read members within bounds on number and size, so that a small file cannot unpack to a huge one."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [m for m in archive.infolist() if not m.is_dir() and not _is_litter(m.filename)]
            if len(members) > MOST_FILES or sum(m.file_size for m in members) > MOST_UNPACKED:
                raise UnreadableFileError(
                    f"unpacks to more than {MOST_FILES:,} files or {MOST_UNPACKED:,} bytes"
                )
            for member in members:
                with archive.open(member) as stream:
                    inner = stream.read(MOST_UNPACKED + 1)
                if member.filename.lower().endswith(".zip"):
                    raise UnreadableFileError(f"holds another zip ({member.filename}); unpack that first")
                try:
                    yield from _open(PurePosixPath(member.filename).name, inner)
                except UnreadableFileError as error:
                    raise UnreadableFileError(f"{member.filename} {error}") from error
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise UnreadableFileError(f"is not a zip file that can be read ({error})") from error


def _is_litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith(".")


def _rows(text: str) -> Iterator[tuple[str, str, str | None]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or []
    if "text" not in columns:
        raise UnreadableFileError(
            f"needs a column `text` (and may have `name`, `level`); it has: {', '.join(columns)}"
        )
    if unknown := [column for column in columns if column not in _COLUMNS]:
        raise UnreadableFileError(
            f"has unknown columns: {', '.join(unknown)}; known are {', '.join(_COLUMNS)}"
        )
    try:
        for number, row in enumerate(reader, start=1):
            body = (row["text"] or "").strip()
            if None in row or not body:
                raise UnreadableFileError(
                    f"row {number} has {'too many fields' if None in row else 'no text'}"
                )
            if len(body.encode()) > MOST_BYTES:
                raise UnreadableFileError(f"row {number} has more than {MOST_BYTES:,} bytes")
            yield (
                (row.get("name") or "").strip() or f"row-{number:03}",
                body,
                (row.get("level") or "").strip() or None,
            )
    except csv.Error as error:
        raise UnreadableFileError(f"is not a csv file that can be read ({error})") from error
