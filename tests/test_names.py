"""The rule of section 4 of the protocol."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filetransfer.errors import NameInvalid
from filetransfer.names import MAX_PATH_OCTETS, check_path, split_path

LONGEST = "/".join(["x" * 255] * 16)


@pytest.mark.parametrize(
    "text",
    [
        "f",
        "directory/file.txt",
        " ",
        "a b",
        "...",
        ".hidden",
        ".ft",
        "x.ft-",
        "..a/b..",
        "~",
        "-rf",
        "a\\b",
        "C:",
        "*?\"'<>|",
        "\u00e9",
        "e\u0301",
        "日本語",
        "\U0001f4be",
        "\u200b",
        "x" * 255,
        "é" * 127,
        LONGEST,
    ],
)
def test_what_may_be(text: str) -> None:
    assert check_path(text) is text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/..",
        "a/../b",
        "./a",
        "a/./b",
        "x" * 256,
        "é" * 128,
        "a/" + "x" * 256,
        LONGEST + "/x",
        ".ft-store",
        ".ft-",
        ".FT-store",
        ".Ft-x",
        "a/.ft-b",
        "a/.fT-b/c",
    ],
)
def test_what_may_not_be(text: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        check_path(text)
    assert caught.value.about == "path"


REFUSED = [
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    0x200E,
    0x200F,
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0xFEFF,
    0xD800,
    0xDBFF,
    0xDC80,
    0xDCFF,
    0xDFFF,
]


@pytest.mark.parametrize("number", REFUSED)
def test_characters_that_may_not_be(number: int) -> None:
    for text in (chr(number), f"a{chr(number)}", f"a/{chr(number)}/b"):
        with pytest.raises(NameInvalid) as caught:
            check_path(text)
        # The message is safe to be printed anywhere.
        assert str(caught.value).isascii()
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "number", [0x20, 0x7E, 0xA0, 0x061B, 0x200D, 0x2027, 0x202F, 0x2065, 0x206A]
)
def test_their_neighbours_may_be(number: int) -> None:
    assert check_path(chr(number))


def test_the_refusal_says_which_name() -> None:
    with pytest.raises(NameInvalid) as caught:
        check_path("..", about="to")
    assert caught.value.about == "to"


@given(st.text(max_size=40))
def test_a_path_is_kept_as_it_came_or_refused(text: str) -> None:
    try:
        path = check_path(text)
    except NameInvalid:
        return
    assert path == text
    assert 1 <= len(path.encode()) <= MAX_PATH_OCTETS
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in path)
    assert not {"", ".", ".."}.intersection(path.split("/"))


@pytest.mark.parametrize(
    ("path", "parts"), [("f", ("", "f")), ("d/f", ("d", "f")), ("d/e/f", ("d/e", "f"))]
)
def test_split(path: str, parts: tuple[str, str]) -> None:
    assert split_path(check_path(path)) == parts
