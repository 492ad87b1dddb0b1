"""Each feature by example, and what holds for any text."""

from __future__ import annotations

import time
from math import log, log1p, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.provider.judges.features import (
    BUCKET,
    FEATURES,
    TARGETS,
    closeness,
    has_words,
    is_one_edit,
    pair_values,
    profile,
    typos,
    variation,
    variety,
    words_of,
)

NOTHING = profile("")


def value(name: str, text: str) -> float:
    at = [feature.name for feature in FEATURES].index(name)
    return pair_values(profile(text), NOTHING, NOTHING)[at]


def test_words_are_counted_in_any_script() -> None:
    assert words_of("I don't know: it\u2019s well-known in 2024.") == [
        "I", "don't", "know", "it\u2019s", "well", "known", "in", "2024",
    ]  # fmt: skip
    assert words_of("हिन्दी में") == ["हिन्दी", "में"]
    assert words_of("漢字かな") == ["漢", "字", "か", "な"]
    assert words_of("Ça va, Ærlige Übung, Привет, мир") == ["Ça", "va", "Ærlige", "Übung", "Привет", "мир"]
    assert words_of("😀 ___ --- …") == []


def test_length_counts_as_its_logarithm() -> None:
    assert value("words", "one two three four") == pytest.approx(log(4))
    assert value("words", "") == 0


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        ("", 0),
        ("One.", 1),
        ("One.\n\nTwo.\n \n\nThree.", 3),
        ("One.\r\n\r\nTwo.", 2),
        ("A line that is\nwrapped by hand, and ends\nhere.\nA second one.", 2),
        ("A line that is\nwrapped.\nBut blank lines are used.\n\nA second one.", 2),
        ("X.\n\n" * 30, 8),
    ],
)
def test_paragraphs_stand_between_blank_lines_or_end_with_a_sentence(text: str, paragraphs: int) -> None:
    assert value("paragraphs", text) == paragraphs


def test_variety_is_the_mean_share_of_distinct_words_in_a_window() -> None:
    assert variety([]) == 0
    assert variety(["a", "b", "a", "c"]) == 0.75
    assert variety(["a"] * 51) == pytest.approx(1 / 50)
    words = [str(number * number % 97 // (1 + number // 50)) for number in range(140)]
    windows = [words[at : at + 50] for at in range(91)]
    assert variety(words) == pytest.approx(sum(len(set(window)) / 50 for window in windows) / 91)


def test_word_length_and_long_words() -> None:
    assert value("word_length", "a bb ccc") == 2
    assert value("word_length", "a" * 1000) == 20
    assert value("long_words", "because it matters to me") == 0.4


def test_both_spellings_of_an_accent_are_one_word() -> None:
    assert value("word_length", "e\u0301te\u0301") == value("word_length", "été") == 3


def test_sentences_are_measured_by_their_length_and_its_variation() -> None:
    assert value("sentence_length", "One two three. Four five! Six?") == 2
    assert value("sentence_length", "word " * 100) == 25
    assert value("sentence_length", "Fruit, e.g. apples, costs 3.50 today. It is dear...") == pytest.approx(
        5.5
    )
    assert value("sentence_length", "我喜欢读书。他也是。") == 4
    assert value("sentence_variation", "One two. One two. One two.") == 0
    assert variation([1, 3]) == 0.5
    assert variation([1, 1, 1, 1, 100]) == 1
    assert variation([]) == 0


def test_subordinators_count_per_sentence() -> None:
    assert value(
        "subordinators", "I left because it rained. It rained. It was late when we met."
    ) == pytest.approx(2 / 3)
    assert value("subordinators", "because " * 9) == 3


def test_punctuation_counts_kinds_not_marks() -> None:
    assert value("punctuation", "One, two, three. It's.") == 1
    assert value("punctuation", 'He said: "Why (now)?" \u2013 yes; no, stop!') == 8


def test_connectives_count_per_hundred_words() -> None:
    filler = "we walk " * 48
    assert value("connectives", f"However {filler} for example") == pytest.approx(100 * 2 / 99)
    assert value("connectives", "however " * 50) == 6


@pytest.mark.parametrize(
    ("text", "slips"),
    [
        ("The cat and I sat. We ate.", 0),
        ("The cat and i sat. i'm fat.", 3),
        ("the cat sat. we ate.", 2),
        ("The the cat sat. They had had enough.", 1),
        ("The cat ,and the dog,sat .", 3),
        ("The cat sat.Then it left.", 1),
        ('"Go!" he said. "e.g. this" is fine...', 0),
        ("Boken ligger i lådan och i hallen.", 0),
    ],
)
def test_slips_are_counted(text: str, slips: int) -> None:
    assert value("slips", text) == pytest.approx(log1p(100 * slips / len(words_of(text))))


@pytest.mark.parametrize(
    ("word", "other", "near"),
    [
        ("techer", "teacher", True),
        ("teacher", "techer", True),
        ("beleive", "believe", True),
        ("definately", "definitely", True),
        ("school", "school", False),
        ("shcol", "school", False),
        ("cat", "dog", False),
        ("", "a", True),
        ("abcd", "badc", False),
    ],
)
def test_one_edit_is_one_letter_or_one_swap(word: str, other: str, *, near: bool) -> None:
    assert is_one_edit(word, other) is near


def test_a_rare_neighbour_of_a_frequent_word_is_a_likely_misspelling() -> None:
    right = profile("The teacher helps. My teacher reads. A teacher writes. Any teacher knows.")
    wrong = profile("My techer helps the pupils who come late.")
    assert typos(wrong, right) == pytest.approx(log1p(100 / 8))
    assert typos(right, wrong) == 0


def test_an_inflection_or_a_common_word_is_no_misspelling() -> None:
    text = "My phone rings. A phone lies there. The phone is old. This phone is new. Those those those those."
    assert typos(profile(f"{text} All phones are these."), profile(text)) == 0


def test_a_word_is_no_misspelling_when_it_is_as_usual_as_its_neighbour() -> None:
    text = profile("horse horse horse horse house hoarse hoarse")
    assert typos(text, NOTHING) == 0


def test_closeness_counts_the_words_of_the_question_by_their_stem() -> None:
    question = profile("Should mobile phones be allowed in schools?")
    assert closeness(profile("My school allowed it."), question) == pytest.approx(2 / sqrt(4))
    assert closeness(profile("A phone is mobile."), question) == pytest.approx(1 / sqrt(4))
    assert closeness(profile("I like cats."), question) == 0
    assert closeness(profile("Anything"), profile("?")) == 0


@given(st.text())
def test_any_text_can_be_measured(text: str) -> None:
    mine = profile(text)
    values = pair_values(mine, profile(text[::-1]), mine)
    assert len(values) == len(FEATURES)
    assert all(0 <= one < 1000 for one in values)
    assert profile(text) == mine


@pytest.mark.parametrize(
    "piece",
    [".", "\n", "'", "i'", "....x", " ,", "e.g", "\n \t", "a\u0301", "漢", "word word. ", "\u0301\u0323"],
    ids=ascii,
)
def test_time_is_linear_in_hostile_texts(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece)) + "x"
        started = time.thread_time()  # what other threads of this process do is not counted
        profile(text)
        return time.thread_time() - started

    small, large = (min(seconds(size) for _ in range(3)) for size in (10_000, 100_000))
    assert large < 0.1 + 40 * small, "ten times the text, far more than ten times the time"


def test_a_vocabulary_of_neighbours_does_not_explode() -> None:
    letters = "bcdfghjklm"
    words = [f"a{x}{y}{z}{w}e" for x in letters for y in letters for z in letters for w in letters]
    crowd = profile(" ".join(words * 2))
    assert len(crowd.frequent) == TARGETS
    assert max(map(len, crowd.rare.values())) == BUCKET
    started = time.thread_time()
    typos(crowd, crowd)
    assert time.thread_time() - started < 0.5, "every pair of 10,000 words would take minutes"


@given(st.text(alphabet="abé漢_'\u2019. \n-A1\u0301", max_size=60) | st.text(max_size=60))
def test_a_quick_look_counts_the_words_that_the_profile_counts(text: str) -> None:
    words = profile(text).words
    assert all(has_words(text, least) == (words >= least) for least in range(1, 9))
