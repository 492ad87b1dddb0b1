"""People's own CSV files: what is read, and that every fault is named with its line."""

from __future__ import annotations

from dataclasses import fields
from uuid import UUID

import numpy as np
import pytest

from app.cj.batch import ComparisonState
from app.cj.judgements import Judgements, read_judgements
from app.cj.views import Comparison
from app.contracts import JudgeKind, Winner
from app.errors import InvalidRequest
from app.web.report import judgements_csv

HEADER = "item_a,item_b,winner\n"


def read(text: str) -> Judgements:
    return read_judgements(text.encode())


def faults(text: str | bytes) -> dict[str, list[str]]:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InvalidRequest) as caught:
        read_judgements(content)
    found: dict[str, list[str]] = {}
    for where, what in caught.value.errors:
        found.setdefault(where, []).append(what)
        assert f"{where}: {what}" in caught.value.detail
    return found


def test_three_columns_are_enough() -> None:
    found = read(f"{HEADER}x,y,a\ny,z,b\nz,x,tie\n")
    assert found.items == ("x", "y", "z")
    assert found.judges == ("",)
    assert found.verdicts.first.tolist() == [0, 1, 2]
    assert found.verdicts.second.tolist() == [1, 2, 0]
    assert found.verdicts.outcome.tolist() == [1.0, 0.0, 0.5]
    assert np.isnan(found.verdicts.confidence).all()


def test_n_says_how_many_times_and_columns_stand_in_any_order() -> None:
    found = read("n,winner,item_b,confidence,judge,item_a\n3,b,y,.5,Ann,x\n,A,z,,Ben,x\n0,tie,x,1,Ann,w\n")
    assert found.items == ("x", "y", "z", "w")
    assert found.judges == ("Ann", "Ben")
    assert found.verdicts.outcome.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert found.verdicts.judge.tolist() == [0, 0, 0, 1]
    assert found.verdicts.confidence[:3].tolist() == [0.5] * 3
    assert np.isnan(found.verdicts.confidence[3])


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_commas_semicolons_and_tabs_are_understood(sign: str) -> None:
    text = f"{HEADER}x,y,a\n".replace(",", sign)
    assert read(text).items == ("x", "y")


def test_a_byte_order_mark_windows_line_ends_quotes_and_blank_lines_do_no_harm() -> None:
    content = b'\xef\xbb\xbf"item_a","item_b","winner"\r\n\r\n"x, the first"," y ",a\r\n'
    assert read_judgements(content).items == ("x, the first", "y")


def test_every_fault_of_every_line_is_named_at_once() -> None:
    found = faults(
        "item_a,item_b,winner,n,confidence\n"
        "x,x,a,1,\n"
        "x,y,c,-1,1.5\n"
        ",y,,1.5,high\n"
        "x,y,a\n"
        "x,y,a,1,0.5\n"
        '"two\nlines",y,a,1,nan\n'
        "x,y,z,1,\n"
    )
    assert found == {
        "line 2": ["'x' is compared with itself"],
        "line 3": [
            "`winner` is 'c', not a, b or tie",
            "`n` is '-1', not a whole number from 0 to 999999999",
            "`confidence` is '1.5', not a number from 0 to 1",
        ],
        "line 4": [
            "`item_a` is empty",
            "`winner` is '', not a, b or tie",
            "`n` is '1.5', not a whole number from 0 to 999999999",
            "`confidence` is 'high', not a number from 0 to 1",
        ],
        "line 5": ["3 fields, where the header names 5"],
        "line 7": ["`confidence` is 'nan', not a number from 0 to 1"],
        "line 9": ["`winner` is 'z', not a, b or tie"],
    }


def test_a_column_that_is_missing_unknown_or_twice_is_named() -> None:
    assert faults("item_a,item_b,winer,n,n\nx,y,a,1,1\n") == {
        "line 1": [
            "the column `n` stands there twice",
            "the column `winner` is missing",
            "the column `winer` is unknown",
        ]
    }


def test_an_empty_judge_is_a_fault_where_judges_are_named() -> None:
    assert faults("item_a,item_b,winner,judge\nx,y,a,\n") == {"line 2": ["`judge` is empty"]}


@pytest.mark.parametrize("text", ["", "\n\n", HEADER, "item_a,item_b,winner,n\nx,y,a,0\n"])
def test_a_file_without_judgements_says_so(text: str) -> None:
    assert "line 1" in faults(text)


def test_what_is_not_utf_8_or_no_csv_is_named_with_its_line() -> None:
    assert faults(HEADER.encode() + "é,y,a".encode("latin-1")) == {
        "line 2": ["this is not UTF-8; save the file as CSV UTF-8"]
    }
    assert list(faults(f'{HEADER}x,y,a\n"x,y,a\n')) == ["line 3"]
    assert list(faults(f'{HEADER}"x"x,y,a\n')) == ["line 2"]


def test_more_judgements_than_can_be_held_are_refused_before_they_are_made() -> None:
    assert list(faults("item_a,item_b,winner,n\nx,y,a,999999999\n")) == ["all lines"]


def test_a_nul_in_a_name_is_refused() -> None:
    assert faults(f"{HEADER}x\0,y,a\n") == {"line 2": ["`item_a` holds a NUL"]}


def comparison(sequence: int, **said: object) -> Comparison:
    nothing = dict.fromkeys(field.name for field in fields(Comparison))
    known = {"id": UUID(int=sequence), "sequence": sequence, "flags": (), "judge_kind": JudgeKind.LLM}
    return Comparison(**(nothing | known | said))  # type: ignore[arg-type]


def test_our_own_export_is_read_with_its_judges_and_without_what_got_no_verdict() -> None:
    model = {"provider": "openai", "model": "gpt-6-luna", "prompt_version": "comparison-v1"}
    export = judgements_csv(
        [
            comparison(1, essay_a="=one", essay_b="two, too", winner=Winner.ESSAY_A, confidence=0.8, state=ComparisonState.DECIDED, **model),
            comparison(2, essay_a="two, too", essay_b="three", state=ComparisonState.FAILED, **model),
            comparison(3, essay_a="two, too", essay_b="=one", winner=Winner.TIE, confidence=0.5, state=ComparisonState.DECIDED, provider="rules", model="panel-v1/balanced"),
        ]
    )  # fmt: skip
    found = read(export)
    assert found.items == ("=one", "two, too")
    assert found.judges == ("openai gpt-6-luna comparison-v1", "rules panel-v1/balanced")
    assert found.verdicts.outcome.tolist() == [1.0, 0.5]
    assert found.verdicts.confidence.tolist() == [0.8, 0.5]


def test_an_audit_in_an_export_counts_in_no_score() -> None:
    text = "essay_a,essay_b,winner,confidence,model,prompt_version,state,audit_of\n"
    text += "x,y,essay_a,,m,1,decided,\ny,x,essay_b,,m,1,decided,1\n"
    assert len(read_judgements(text.encode()).verdicts) == 1
