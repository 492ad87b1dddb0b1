"""A folder of essays as people keep it: the files, and beside them perhaps `question.txt` and `levels.csv`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cj.batch import NewEssay
from app.cj.essays import HandedIn, read_files
from app.errors import InvalidRequest, NotFound

QUESTION = "question.txt"
LEVELS = "levels.csv"
ANY_QUESTION = "Which of these two essays is better?"


@dataclass(frozen=True, slots=True)
class Folder:
    """What was found. `levels` gives the intended level of each essay that has one, anchors or not."""

    handed_in: HandedIn
    question: str
    question_file: Path | None
    levels: dict[str, str]

    @property
    def essays(self) -> tuple[NewEssay, ...]:
        """The essays, anchors with their level."""
        return self.handed_in.essays


def read_folder(paths: Sequence[Path], *, question: str | None = None, least_words: int = 0) -> Folder:
    """Read files and folders; a question given wins over `question.txt`.

    :raises NotFound: a path that is not there.
    :raises InvalidRequest: a `levels.csv` that cannot be read.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(
                f
                for f in path.iterdir()
                if f.is_file() and f.name not in {QUESTION, LEVELS} and f.name[0] != "."
            )
        elif path.is_file():
            files.append(path)
        else:
            raise NotFound(f"There is no file or folder {path}.")
    handed_in = read_files([(file.name, file.read_bytes()) for file in files], least_words=least_words)
    places = [place for path in paths for place in (path if path.is_dir() else path.parent, path.parent)]
    beside = next((p / QUESTION for p in places if (p / QUESTION).is_file()), None)
    levels_file = next((p / LEVELS for p in places if (p / LEVELS).is_file()), None)
    levels = _levels(levels_file) if levels_file else {}
    essays = tuple(
        essay.model_copy(update={"level": levels[essay.name][0]})
        if levels.get(essay.name, ("", False))[1]
        else essay
        for essay in handed_in.essays
    )
    return Folder(
        HandedIn(essays, handed_in.remarks),
        question or (beside.read_text(encoding="utf-8").strip() if beside else ANY_QUESTION),
        None if question else beside,
        {essay.name: levels[essay.name][0] for essay in essays if essay.name in levels},
    )


def _levels(file: Path) -> dict[str, tuple[str, bool]]:
    """Read `essay,level,anchor` rows: the level of each essay, and whether it is an anchor."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        if not {"essay", "level"} <= set(reader.fieldnames or ()):
            raise InvalidRequest(f"{file} needs the columns essay,level (and may have anchor: yes or no).")
        return {row["essay"]: (row["level"], (row.get("anchor") or "no").lower() == "yes") for row in reader}
