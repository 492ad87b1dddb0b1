"""Essays from files: what is read, and how each fault is named."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from app.cj.essays import MOST_BYTES, read_files
from app.cj.folder import ANY_QUESTION, read_folder
from app.errors import InvalidRequest, NotFound

LONG = "word " * 60


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__dot__", "."), content)
    return buffer.getvalue()


def test_text_markdown_zip_and_csv_become_essays() -> None:
    handed_in = read_files(
        [
            ("one.txt", b"\xef\xbb\xbffirst " + LONG.encode()),
            ("two.md", b"second\r\n" + LONG.encode()),
            ("class.zip", zipped(three__dot__txt=b"third " + LONG.encode())),
            ("rest.csv", f'name,text,level\nfour,"fourth, {LONG}",B\n,fifth {LONG},\n'.encode()),
        ]
    )
    assert handed_in.remarks == ()
    assert [e.name for e in handed_in.essays] == ["one", "two", "three", "four", "row-002"]
    assert handed_in.essays[0].text.startswith("first")
    assert "\r" not in handed_in.essays[1].text
    assert [e.level for e in handed_in.essays] == [None, None, None, "B", None]


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b"   \n ", "is empty"),
        ("a.txt", b"GIF89a\x00\x00", "binary"),
        ("a.txt", "naïve".encode("latin-1"), "not UTF-8"),
        ("a.txt", b"x" * (MOST_BYTES + 1), "at most"),
        ("a.docx", b"PK", "reads .txt, .md, .zip and .csv"),
        ("a", b"text", "unknown"),
        ("a.zip", b"not a zip", "not a zip file"),
        ("a.zip", zipped(b__dot__txt=b""), "b.txt is empty"),
        ("a.zip", zipped(b__dot__zip=zipped(c__dot__txt=b"x")), "another zip"),
        ("a.csv", b"name\nx\n", "needs a column `text`"),
        ("a.csv", b"text,age\nx,1\n", "unknown columns: age"),
        ("a.csv", b"name,text\nx,\n", "row 1 has no text"),
        ("a.csv", b"text\nx,y\n", "row 1 has too many fields"),
    ],
)
def test_each_fault_is_named_with_its_file(file: str, content: bytes, says: str) -> None:
    handed_in = read_files([(file, content), ("good.txt", LONG.encode())])
    (fault,) = handed_in.faults
    assert fault.file == file
    assert says in fault.message
    assert [e.name for e in handed_in.essays] == ["good"]


def test_a_zip_bomb_is_refused_by_its_announced_size() -> None:
    bomb = zipped(**{f"f{n}__dot__txt": b"0" * 6_000_000 for n in range(9)})
    assert len(bomb) < 100_000
    (fault,) = read_files([("bomb.zip", bomb)]).faults
    assert "unpacks to more than" in fault.message


def test_twins_are_refused_and_short_essays_are_remarked_on() -> None:
    handed_in = read_files(
        [
            ("a.txt", LONG.encode()),
            ("b.txt", LONG.upper().encode()),
            ("c.txt", b"short"),
            ("c.md", LONG.encode() + b"x"),
        ]
    )
    said = {(r.file, r.fatal): r.message for r in handed_in.remarks}
    assert said["b", True] == "has the same text as a"
    assert said["c", True].startswith("2 essays have this name")
    assert "only 1 words" in said["c", False]


def test_a_folder_brings_its_question_and_its_anchors(tmp_path: Path) -> None:
    (tmp_path / "question.txt").write_text("Why?\n")
    (tmp_path / "levels.csv").write_text("essay,level,anchor\na,3,yes\nb,4,no\n")
    essays = tmp_path / "essays"
    essays.mkdir()
    for name in "ab":
        (essays / f"{name}.txt").write_text(LONG + name)
    (essays / ".hidden").write_text("x")
    folder = read_folder([essays])
    assert folder.question == "Why?"
    assert [(e.name, e.level) for e in folder.essays] == [("a", "3"), ("b", None)]
    assert folder.levels == {"a": "3", "b": "4"}
    assert read_folder([essays], question="How?").question == "How?"


def test_without_a_question_a_plain_one_is_asked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(LONG)
    assert read_folder([tmp_path / "a.txt"]).question == ANY_QUESTION


def test_a_path_that_is_not_there_and_a_broken_levels_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        read_folder([tmp_path / "nowhere"])
    (tmp_path / "levels.csv").write_text("name\nx\n")
    with pytest.raises(InvalidRequest, match="essay,level"):
        read_folder([tmp_path])
