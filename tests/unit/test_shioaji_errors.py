"""The table of the library's errors: by class, by the server's number, and by both."""

import pytest

from execpos.brokers.shioaji.errors import classify, status_of
from execpos.brokers.shioaji.scrub import Scrubber
from execpos.domain.redact import MASK
from execpos.errors import ConfigError
from shioaji_fake import PERSON
from shioaji_library import library


def fake(name: str, *bases: str) -> type[Exception]:
    made: type[Exception] = Exception
    for each in (*reversed(bases), name):
        made = type(each, (made,), {})
    return made


TABLE = [
    # class, bases, text, kind, link, token
    ("SystemMaintenance", (), "StatusCode: 503, Detail: 系統維護", "suspended", False, False),
    ("SystemMaintenance", (), "", "suspended", False, False),
    ("ServerError", (), "StatusCode: 503, Detail: please update the version", "suspended", False, False),
    ("ServerError", (), "status_code: 429, too many", "suspended", False, False),
    ("ServerError", (), "451: Too Many Connections.", "failed", False, False),
    ("ServerError", (), "StatusCode: 406, Detail: sign data timeout", "refused", False, False),
    ("ServerError", (), "StatusCode: 500", "failed", True, False),
    ("ServerError", (), "no number here", "failed", False, False),
    ("TokenError", ("AuthError",), "StatusCode: 401, Detail: Token is expired.", "session", False, True),
    ("AuthError", (), "Not authenticated", "session", False, False),
    ("ServerError", (), "StatusCode: 401, Detail: Token is expired.", "session", False, True),
    ("ShioajiTimeoutError", ("TimeoutError",), "503 ms passed", "timeout", True, False),
    ("ShioajiConnectionError", ("ConnectionError",), "", "failed", True, False),
    ("BadRequestError", (), "StatusCode: 400", "refused", False, False),
    ("BadRequestError", (), "StatusCode: 503", "suspended", False, False),
    ("ValidationError", (), "StatusCode: 422", "refused", False, False),
    ("AccountNotSignError", (), "", "refused", False, False),
    ("DecodeError", ("ResponseError",), "", "malformed", False, False),
    ("ResponseRecvError", ("ResponseError",), "", "failed", True, False),
    ("ShioajiValueError", ("ValueError",), "Invalid Unit: Foo", "refused", False, False),
    ("NewError", ("ShioajiError",), "", "failed", False, False),
]


@pytest.mark.parametrize(("name", "bases", "text", "kind", "link", "token"), TABLE)
def test_an_error_means_what_the_table_says(name: str, bases: tuple[str, ...], text: str, kind: str, *, link: bool, token: bool) -> None:
    meaning = classify(fake(name, *bases)(text))

    assert (meaning.kind, meaning.link, meaning.token) == (kind, link, token)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "failed"),
        (AttributeError("no such call"), "unsupported"),
        (KeyError("x"), "failed"),
    ],
)
def test_errors_that_are_not_the_librarys_have_a_meaning_too(error: Exception, kind: str) -> None:
    assert classify(error).kind == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SystemMaintenance", "suspended"),
        ("TokenError", "session"),
        ("AuthError", "session"),
        ("ShioajiTimeoutError", "timeout"),
        ("ShioajiConnectionError", "failed"),
        ("ServerError", "failed"),
        ("ValidationError", "refused"),
        ("BadRequestError", "refused"),
        ("SubscribeError", "refused"),
        ("DecodeError", "malformed"),
        ("ResponseRecvError", "failed"),
        ("AccountNotProvideError", "refused"),
        ("AccountNotSignError", "refused"),
        ("ShioajiValueError", "refused"),
        ("ShioajiTypeError", "unsupported"),
        ("ShioajiPermissionError", "refused"),
        ("OrderOutcomeUnknownError", "malformed"),
    ],
)
def test_the_real_librarys_errors_are_in_the_table_under_their_names(name: str, kind: str) -> None:
    assert classify(getattr(library(), name)("text")).kind == kind


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("StatusCode: 503, Detail: x", 503),
        ("status_code: 401", 401),
        ("429: too many logins today", 429),
        ("(451)", 451),
        ("order 5031 of 503 refused", 0),
        ("price 503.5", 0),
        ("", 0),
    ],
)
def test_only_a_number_that_stands_as_an_answer_is_one(text: str, number: int) -> None:
    assert status_of(text) == number


def test_texts_are_masked_before_they_are_cut() -> None:
    scrub = Scrubber(["secret", "x"])
    scrub.learn(["王大明", None, 3])

    assert scrub.text(f"a secret of 王大明,\n{PERSON}") == f"a {MASK} of {MASK}, {MASK}"
    assert len(scrub.text("y " * 147 + PERSON)) == 300
    assert PERSON[:5] not in scrub.text("y " * 147 + PERSON)
    assert scrub.text("xx") == "xx", "a single letter is no secret"


def test_errors_of_ours_keep_their_status() -> None:
    assert classify(ConfigError("x")).kind == "failed"
