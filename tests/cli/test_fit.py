"""`fit` and `simulate` as people type them."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.test_cli import juxta

ROOT = Path(__file__).parents[2]
CYCLE = "item_a,item_b,winner\nx,y,a\ny,z,a\nz,x,a\nx,y,a\n"


def write(folder: Path, text: str) -> Path:
    file = folder / "judgements.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_fit_prints_scores_centred_at_zero_and_everything_they_rest_on(tmp_path: Path) -> None:
    done = juxta("fit", write(tmp_path, CYCLE), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [item["rank"] for item in found["items"]] == [1, 2, 3]
    assert sum(item["score"] for item in found["items"]) == pytest.approx(0.0, abs=1e-12)
    assert all(item["low"] < item["score"] < item["high"] for item in found["items"])
    assert {item["id"]: item["comparisons"] for item in found["items"]} == {"x": 3, "y": 3, "z": 2}
    assert set(found["reliability"]) >= {"eb", "split_half", "ssr"}
    assert set(found["position"]) == {"estimate", "se"}
    assert found["islands"] == [["x", "y", "z"]]
    assert found["sigma"] > 0
    assert found["unbounded"] == []


def test_fit_names_methods_in_words_on_stderr_and_the_table_on_stdout(tmp_path: Path) -> None:
    done = juxta("fit", write(tmp_path, CYCLE), columns=120)
    assert "comparisons" in done.stdout
    for words in ("reliability EB", "empirical Bayes", "split-half", "SSR", "legacy", "position", "sigma"):
        assert words in done.stderr


def test_fit_reads_stdin() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", "fit", "-", "--json", "--position-term", "off"],
        input=CYCLE.replace(",", ";"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["position"] is None


def test_without_a_prior_what_has_no_finite_estimate_is_named_and_not_guessed(tmp_path: Path) -> None:
    file = write(tmp_path, f"{CYCLE}best,x,a\nbest,y,a\n")
    done = juxta("fit", file, "--prior", "none", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["unbounded"] == ["best"]
    assert found["sigma"] is None
    assert found["reliability"]["eb"] is None
    (best,) = [item for item in found["items"] if item["id"] == "best"]
    assert (best["score"], best["se"], best["rank"]) == (None, None, None)
    assert all(item["score"] is not None for item in found["items"] if item["id"] != "best")
    assert (
        "no finite estimate without a prior, so none is given: best"
        in juxta("fit", file, "--prior", "none").stderr
    )


def test_without_a_prior_a_perfect_order_has_no_estimate_at_all(tmp_path: Path) -> None:
    file = write(tmp_path, "item_a,item_b,winner\nx,y,a\ny,z,a\nx,z,a\n")
    found = json.loads(juxta("fit", file, "--prior", "none", "--json").stdout)
    assert sorted(found["unbounded"]) == ["x", "y", "z"]
    assert all(item["score"] is None for item in found["items"])
    assert all(item["score"] is not None for item in json.loads(juxta("fit", file, "--json").stdout)["items"])


def test_a_position_term_without_an_end_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    done = juxta("fit", write(tmp_path, CYCLE), "--prior", "none", "--json")
    found = json.loads(done.stdout)
    assert found["position"] is None
    assert found["unbounded"] == []
    assert "was left out" in found["notes"][0]


def test_a_file_that_names_winners_first_is_suspected(tmp_path: Path) -> None:
    file = write(tmp_path, CYCLE)
    assert "if your file names winners first" in juxta("fit", file).stderr
    assert "winners first" not in juxta("fit", file, "--position-term", "off").stderr


@pytest.mark.parametrize("prior", ["auto", "none"])
def test_islands_are_said_openly_and_ranked_apart(tmp_path: Path, prior: str) -> None:
    file = write(tmp_path, f"{CYCLE}p,q,a\nq,p,a\nq,p,a\n")
    found = json.loads(juxta("fit", file, "--json", "--prior", prior, "--position-term", "off").stdout)
    assert found["islands"] == [["x", "y", "z"], ["p", "q"]]
    assert {item["id"]: (item["island"], item["rank"]) for item in found["items"]} == {
        "x": (0, 1),
        "z": (0, 2),
        "y": (0, 3),
        "q": (1, 1),
        "p": (1, 2),
    }
    done = juxta("fit", file, "--prior", prior)
    assert "2 islands" in done.stderr
    assert "island 2: p, q" in done.stderr


def test_ties_do_not_hide_that_winners_are_named_first_and_the_warning_stands_alone(tmp_path: Path) -> None:
    rows = "".join(f"e{n},e{n + k},a\n" for n in range(10) for k in (1, 2, 3))
    text = f"item_a,item_b,winner\n{rows}e0,e9,tie\ne9,e1,b\n"
    found = json.loads(juxta("fit", write(tmp_path, text), "--json").stdout)
    (warning,) = found["warnings"]
    assert warning.startswith("item_a won 30 of 31 judgements that are no ties")
    assert "warning: item_a won" in juxta("fit", write(tmp_path, text)).stderr.split("judgements of")[0]
    fair = "".join(f"e{n},e{n + k},{'ab'[(n + k) % 2]}\n" for n in range(10) for k in (1, 2, 3))
    calm = juxta("fit", write(tmp_path, f"item_a,item_b,winner\n{fair}"), "--json")
    assert json.loads(calm.stdout)["warnings"] == []


def test_judges_without_a_judgement_are_not_counted_and_columns_may_be_capitals(tmp_path: Path) -> None:
    file = write(tmp_path, "Item_A,ITEM_B,Winner,N,Judge\nx,y,a,2,Ann\ny,x,a,1,Ann\nx,y,a,0,Ben\n")
    said = juxta("fit", file).stderr
    assert "3 judgements of 2 items by 1 judge(s)" in said
    assert "not used: not used" not in said


def test_more_judgements_than_can_be_fitted_are_refused_with_the_limit(tmp_path: Path) -> None:
    done = juxta("fit", write(tmp_path, "item_a,item_b,winner,n\nx,y,a,4000000\ny,z,b,1\n"))
    assert done.returncode == 1
    assert "4,000,001 judgements, `n` counted; at most 200,000 are fitted" in done.stderr


def test_a_zip_given_as_a_file_of_judgements_is_known_for_what_it_may_be(tmp_path: Path) -> None:
    file = tmp_path / "kept.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", "{}")
    done = juxta("fit", file)
    assert done.returncode == 1
    assert f"fit --bundle {file}" in done.stderr


@pytest.mark.parametrize("prior", ["0.001", "1000", "1e-2"])
def test_the_narrowest_and_the_widest_prior_are_taken(tmp_path: Path, prior: str) -> None:
    found = json.loads(juxta("fit", write(tmp_path, CYCLE), "--json", "--prior", prior).stdout)
    assert found["sigma"] == float(prior)


def test_several_judges_are_told_apart(tmp_path: Path) -> None:
    rows = "".join(f"x,y,{'ab'[n % 3 == 0]},{'Ann' if n % 2 else 'Ben'}\n" for n in range(24))
    found = json.loads(juxta("fit", write(tmp_path, f"item_a,item_b,winner,judge\n{rows}"), "--json").stdout)
    assert [judge["name"] for judge in found["judges"]] == ["Ben", "Ann"]
    assert [judge["comparisons"] for judge in found["judges"]] == [12, 12]
    assert found["reliability"]["split_half_by"] == "judges"


def test_fit_names_every_fault_by_line_and_exits_1(tmp_path: Path) -> None:
    done = juxta("fit", write(tmp_path, "item_a,item_b,winner,n\nx,x,a,1\nx,y,c,-2\n"))
    assert done.returncode == 1
    assert "line 2: 'x' is compared with itself" in done.stderr
    assert "line 3: `winner` is 'c', not a, b or tie" in done.stderr
    assert "line 3: `n` is '-2'" in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("fit", "nowhere.csv"), 3, "no file nowhere.csv"),
        (("fit", "-", "--prior", "wide"), 1, "auto, none, or a number"),
        (("fit", "-", "--prior", "0"), 1, "auto, none, or a number"),
        (("fit", "-", "--prior", "nan"), 1, "auto, none, or a number"),
        (("fit", "-", "--position-term", "maybe"), 2, "'maybe'"),
        (("simulate", "--items", "1"), 2, "greater than or equal to 2"),
        (("simulate", "--judge", "sharpnes=1"), 1, "there is no 'sharpnes'"),
        (("simulate", "--judge", "bias=much"), 1, "'bias=much' cannot be read"),
        (("simulate", "--judge", "pair_noise=2"), 1, "out of range"),
        (("simulate", "--policy", "best"), 1, "random, balanced, swiss, ours"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(arguments: tuple[str, ...], code: int, says: str) -> None:
    done = juxta(*arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


SMALL = ("simulate", "--items", "8", "--rounds", "4", "--repetitions", "2")


def test_simulate_gives_the_same_figures_for_the_same_seed_and_draws_them(tmp_path: Path) -> None:
    one = juxta(*SMALL, "--json", "--svg", tmp_path / "plot.svg")
    assert one.returncode == 0, one.stderr
    found = json.loads(one.stdout)
    assert list(found["policies"]) == ["random", "balanced", "swiss", "ours"]
    assert [row["per_item"] for row in found["policies"]["ours"]["rounds"]] == [1, 2, 3, 4]
    ET.parse(tmp_path / "plot.svg")
    assert juxta(*SMALL, "--json").stdout == one.stdout


def test_simulate_takes_several_judges_and_chosen_policies() -> None:
    judges = ("--judge", "sharpness=0.5,bias=0.9", "--judge", "pair_noise=0.5,confidence=graded")
    found = json.loads(juxta(*SMALL, *judges, "--policy", "ours", "--policy", "swiss", "--json").stdout)
    assert list(found["policies"]) == ["ours", "swiss"]
    assert [judge["sharpness"] for judge in found["judges"]] == [0.5, 1.0]
    assert [judge["confidence"] for judge in found["judges"]] == ["none", "graded"]


def test_simulate_prints_a_table() -> None:
    done = juxta(*SMALL)
    assert "swiss" in done.stdout
    assert "r²" in done.stdout


def test_the_table_of_simulate_cuts_no_figure_in_80_columns_and_has_none_that_is_not_defined() -> None:
    done = juxta(*SMALL, "--spread", "0", columns=80)
    assert "…" not in done.stdout
    assert "balanced" in done.stdout
    assert "nan" not in done.stdout
    found = json.loads(juxta(*SMALL, "--spread", "0", "--policy", "swiss", "--json").stdout)
    assert found["policies"]["swiss"]["rounds"][-1]["tau"] is None
    helped = juxta("simulate", "--help", columns=80).stdout
    assert all(key in helped for key in ("sharpness", "bias", "pair_noise", "confidence"))
