"""Neither the key of a language model nor a sentence of an essay gets to where people and machines look for news."""

from __future__ import annotations

import pytest

from .surfaces import ESSAYS, FILE, SENTENCES, essays_seen, keys_seen, surfaces, unfit


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return surfaces(tmp_path_factory.mktemp("secrets"))


def test_the_search_would_find_them(said: dict[str, str]) -> None:
    """The essays stand where they belong; and each place said something."""
    assert any(sentence in said[FILE + "cj.db"] for sentence in SENTENCES)
    assert all(text for place, text in said.items() if not place.startswith(FILE))
    assert said["events"].count('"status":"succeeded"') > ESSAYS
    assert said["events"].count('"status":"failed"') > 10
    assert said["problems"].count("urn:juxta:problem") == len(list(unfit()))


def test_no_place_shows_the_key(said: dict[str, str]) -> None:
    assert keys_seen(said) == []


def test_no_place_shows_a_sentence_of_an_essay(said: dict[str, str]) -> None:
    """In the databases they stand, until the batch is deleted."""
    assert essays_seen(said) == []
