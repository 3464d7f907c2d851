"""Words of a login's persons are found and taken out, and nothing else is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execpos.domain.private import PrivateWords
from execpos.domain.redact import MASK

NAME, LATIN, SHORT = "王小明", "Hsiao-Ming", "Amy"


def knowing(*words: str) -> PrivateWords:
    made = PrivateWords()
    made.learn(words)
    return made


@pytest.mark.parametrize("word", [NAME, LATIN])
@pytest.mark.parametrize("around", ["{}", "客戶{}不存在", "x{}y", "{}{}"])
def test_a_word_is_taken_out_wherever_it_stands(word: str, around: str) -> None:
    text = around.replace("{}", word)

    assert knowing(word).text(text) == around.replace("{}", MASK)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Amy has no such order", f"{MASK} has no such order"),
        ("客戶Amy不存在", f"客戶{MASK}不存在"),
        ("Amy01", "Amy01"),
        ("AmyX has none", "AmyX has none"),
        ("Amy", "Amy"),
    ],
)
def test_a_short_word_is_taken_out_of_sentences_and_left_in_codes(text: str, left: str) -> None:
    assert knowing(SHORT).text(text) == left


def test_the_longer_of_two_words_goes_first() -> None:
    assert knowing("王小", NAME).text(NAME) == MASK


def test_one_character_is_no_word() -> None:
    assert knowing("王", "").text("王小明") == "王小明"


def test_more_words_add_to_those_known() -> None:
    words = knowing(NAME)
    words.learn([LATIN])

    assert words.text(f"{NAME}, {LATIN}") == f"{MASK}, {MASK}"


def test_names_of_fields_and_nested_values_are_searched() -> None:
    payload = {NAME: [{"a": {"b": f"x {NAME}"}}, NAME, 5, None, True], "n": 1.5}

    assert knowing(NAME).plain(payload) == {MASK: [{"a": {"b": f"x {MASK}"}}, MASK, 5, None, True], "n": 1.5}


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(_PLAIN, st.sampled_from([NAME, LATIN, 'say "no" \\ yes']), st.booleans())
def test_nothing_is_missed_by_the_quick_look(value: Any, word: str, escaped: bool) -> None:  # noqa: FBT001 (a value, not a flag)
    words = knowing(word)
    payload = json.dumps({"a": value, word: [f"x{word}"]}, ensure_ascii=escaped)

    assert words.may_be_in(payload.encode("utf-8", "backslashreplace"))
    assert word not in json.dumps(words.plain(json.loads(payload)), ensure_ascii=False)


def test_a_report_without_the_words_is_left_alone() -> None:
    assert not knowing(NAME, LATIN).may_be_in(b'{"code":"2890"}')
    assert not PrivateWords().may_be_in(b'{"code":"2890"}')
