"""Keys as text: round trip, every single mistake is seen, nothing else is a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearsight.serve.access import tokens
from clearsight.serve.access.tokens import ALPHABET, LENGTH, checksum, digest, id_of, new_token

letters = st.sampled_from(ALPHABET)
ids = st.text(letters, min_size=tokens.ID_LENGTH, max_size=tokens.ID_LENGTH)
secrets = st.text(letters, min_size=tokens.SECRET_LENGTH, max_size=tokens.SECRET_LENGTH)


@st.composite
def written(draw):
    key_id = draw(ids)
    body = f"{tokens.PREFIX}_{key_id}_{draw(secrets)}"
    return key_id, body + checksum(body)


def sees_every_mistyped_letter(parse, token, place, letter):
    """Say whether a parser refuses a key with one other letter."""
    mistyped = token[:place] + letter + token[place + 1 :]
    return mistyped == token or parse(mistyped) is None


def test_a_new_key_has_its_id_and_the_stated_shape():
    key_id, token = new_token()
    assert id_of(token) == key_id
    assert len(token) == LENGTH
    assert token.startswith("csk_")


def test_no_two_keys_are_alike():
    made = [new_token() for _ in range(1000)]
    assert len({key_id for key_id, _ in made}) == len({token for _, token in made}) == 1000


@given(written())
def test_what_is_written_is_read(key):
    key_id, token = key
    assert id_of(token) == key_id


@given(written(), st.integers(0, LENGTH - 1), st.characters())
def test_one_wrong_letter_is_always_seen(key, place, letter):
    assert sees_every_mistyped_letter(id_of, key[1], place, letter)


@given(written(), st.integers(0, LENGTH - 2))
def test_two_letters_exchanged_are_always_seen(key, place):
    token = key[1]
    turned = token[:place] + token[place + 1] + token[place] + token[place + 2 :]
    assert turned == token or id_of(turned) is None


def test_a_parser_without_the_checksum_would_be_found():
    def careless(token):
        match = tokens.SHAPE.fullmatch(token)
        return match[1] if match else None

    token = new_token()[1]
    other = "A" if token[30] != "A" else "B"
    assert not sees_every_mistyped_letter(careless, token, 30, other)


@given(st.text(max_size=200))
def test_other_text_is_no_key_and_raises_nothing(text):
    assert id_of(text) is None
    assert len(digest(text)) == 32


@given(written(), st.text(min_size=1, max_size=20))
def test_a_key_with_anything_around_it_is_no_key(key, more):
    assert id_of(key[1] + more) is None
    assert id_of(more + key[1]) is None


@pytest.mark.parametrize("text", ["csk_" + "１" * 59, "\ud800", "csk_\n", "", "csk__"])
def test_odd_text(text):
    assert id_of(text) is None
    assert len(digest(text)) == 32


@pytest.mark.parametrize(
    ("authorization", "api_key", "expected"),
    [
        ("", "", None),
        ("Bearer abc", "", "abc"),
        ("bearer  abc ", "", "abc"),
        ("", " abc ", "abc"),
        ("Bearer abc", "abc", "abc"),
        ("Bearer abc", "def", ""),
        ("Bearer", "", ""),
        ("Basic eDp5", "", None),
        ("Basic eDp5", "abc", "abc"),
        ("abc", "", None),
    ],
)
def test_where_a_request_carries_its_key(authorization, api_key, expected):
    assert tokens.presented(authorization, api_key) == expected
