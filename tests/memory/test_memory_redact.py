"""Secrets go, everything else stays; a second pass changes nothing."""

from __future__ import annotations

import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.memory.hygiene import redact

HEX = hashlib.sha256(b"a token").hexdigest()

SECRETS = [
    ("aws AKIAIOSFODNN7EXAMPLQ here", "AKIAIOSFODNN7EXAMPLQ", "api key"),
    ("use sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv", "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv", "api key"),
    ("use sk-ant-api03-Ab3dEf6hIj9kLm2nOp5q", "sk-ant-api03-Ab3dEf6hIj9kLm2nOp5q", "api key"),
    ("ghp_" + "a1B2" * 9, "ghp_" + "a1B2" * 9, "api key"),
    ("glpat-abcDEF123456ghiJKL78", "glpat-abcDEF123456ghiJKL78", "api key"),
    ("xoxb-1234567890-abcdefGHIJ", "xoxb-1234567890-abcdefGHIJ", "api key"),
    ("AIza" + "Sy4" * 11 + "ab", "AIza" + "Sy4" * 11 + "ab", "api key"),
    ("hf_" + "aBcDeFgH" * 4, "hf_" + "aBcDeFgH" * 4, "api key"),
    ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "api key"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nxyz\n-----END RSA PRIVATE KEY-----", "MIIEow", "private key"),
    ("cut: -----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1r", "b3BlbnNzaC1r", "private key"),
    ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N", "dozjgNryP4J3jVmNHl0w5N", "token"),
    ("postgres://bob:hunter2@db.local/x", "hunter2", "password"),
    ("https://x.test/cb?access_token=abcd1234efgh&x=1", "abcd1234efgh", "token"),
    ("password = hunter2", "hunter2", "password"),
    ("DB_PASSWORD='correct horse battery'", "correct horse battery", "password"),
    ('{"password": "swordfish"}', "swordfish", "password"),
    ("My wifi password is swordfish.", "swordfish", "password"),
    ("the password for the router is Blue42sky", "Blue42sky", "password"),
    ("Authorization: Bearer abcdef1234567890xyz", "abcdef1234567890xyz", "token"),
    ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA==", "token"),
    (f"token: {HEX[:32]}", HEX[:32], "token"),
    ("client_secret=Zx8Kq2LmN4pR7tVw", "Zx8Kq2LmN4pR7tVw", "token"),
    (
        "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "token",
    ),
    ("card 4111 1111 1111 1111 exp 12/34", "4111 1111 1111 1111", "card"),
    ("pay with 5555-5555-5555-4444", "5555-5555-5555-4444", "card"),
    ("amex 378282246310005", "378282246310005", "card"),
    ("the pin is 4321", "4321", "pin"),
]

HARMLESS = [
    f"entry {HEX} of run r-2031 has prev {HEX[::-1]}",
    f"idempotency key {HEX}",
    f"blob ref sha256:{HEX}",
    f"unit {HEX[:32]} superseded by {HEX[32:]}",
    f"id {uuid.UUID(HEX[:32])}",
    f"tokens: ref {HEX}, count 12345",
    "token ids 151643 151644 8948 198",
    "usage: prompt tokens: 1234, completion tokens: 567",
    "time_us 1924992000000000, until_us 1956528000000000",
    "the password is required and must be changed",
    "The password was stored hashed.",
    "password: str",
    "secret: the recipe is old",
    "The secret to good bread is patience.",
    "a token is about four characters",
    "commit a0e6aa4f1b2c3d4e5f60718293a4b5c6d7e8f901 on main",
    "https://docs.example.org/a/b?page=2",
    "mail me at bob@example.org, ssh git@host:repo",
    "4111 1111 1111 1112 is no card",
    "the sum was 1234567890123456",
    "api_key = os.environ['API_KEY']",
    "password = $DB_PASSWORD",
    "set password to <password>",
    "pi is 3.141592653589793",
    "task-oriented sk-learn and desk-lamp",
    "monkey=banana, keyboard: qwertz",
    "my password is wrong",
    "basic instructions follow",
]


@pytest.mark.parametrize(("text", "secret", "kind"), SECRETS, ids=[secret[:18] for _, secret, _ in SECRETS])
def test_a_secret_is_taken_out(text: str, secret: str, kind: str) -> None:
    redacted = redact(text)
    assert secret not in redacted.text
    assert redacted.kinds == (kind,)
    assert f"[redacted {kind}]" in redacted.text


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    redacted = redact(text)
    assert (redacted.text, redacted.kinds) == (text, ())


def test_the_words_around_a_secret_stay() -> None:
    redacted = redact("Log in to postgres://bob:hunter2@db/x, then send the report.")
    assert redacted.text == "Log in to postgres://bob:[redacted password]@db/x, then send the report."


@given(
    st.lists(
        st.one_of(st.sampled_from([text for text, _, _ in SECRETS]), st.sampled_from(HARMLESS), st.text(max_size=30)),
        max_size=4,
    )
)
def test_redacting_twice_changes_nothing(parts: list[str]) -> None:
    once = redact("\n".join(parts))
    assert redact(once.text).text == once.text
    assert redact(once.text).kinds == ()


@given(st.binary(min_size=1, max_size=64))
def test_hashes_and_ids_are_never_secrets(data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    for text in (
        f"hash {digest}",
        f"unit {digest[:32]}",
        f"RUN#12 prev={digest}",
        str(uuid.UUID(digest[:32])),
        f'"ref":"{digest}"',
    ):
        assert redact(text).kinds == ()
