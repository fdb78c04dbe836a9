"""The event decoder: the same events whatever the pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.loop.models.sse import Event, SseDecoder


def decode(*pieces: bytes) -> list[Event]:
    decoder = SseDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.finish()


def data(*texts: str) -> list[Event]:
    return [Event(name="", data=text) for text in texts]


lines = st.one_of(
    st.text(max_size=12).map(lambda text: f"data: {text}"),
    st.sampled_from(
        ["", "", ": a comment", "event: error", "id: 7", "retry: 10", "data", "data:x", "error: {}", "données: é"]
    ),
)


@given(
    st.lists(st.tuples(lines, st.sampled_from(["\n", "\r\n", "\r"])), max_size=12),
    st.booleans(),
    st.lists(st.integers(min_value=0, max_value=200), max_size=20),
)
def test_any_chunking_gives_the_same_events(parts: list[tuple[str, str]], marked: bool, cuts: list[int]) -> None:
    stream = (b"\xef\xbb\xbf" if marked else b"") + "".join(a + b for a, b in parts).encode("utf-8", "replace")
    borders = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(borders)]
    assert decode(*pieces) == decode(stream)
    assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == decode(stream)


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)))
def test_what_is_written_is_read(texts: list[str]) -> None:
    stream = "".join(f"data: {text}\n\n" for text in texts).encode()
    assert decode(stream) == data(*texts)


def test_comments_names_and_several_data_lines() -> None:
    assert decode(b": ping\n\nevent: error\ndata: a\ndata: b\n\n") == [Event(name="error", data="a\nb")]


def test_the_old_llama_cpp_error_field_is_an_error_event() -> None:
    assert decode(b'error: {"message":"x"}\n\n') == [Event(name="error", data='{"message":"x"}')]


def test_an_event_without_its_closing_line_is_kept() -> None:
    assert decode(b"data: [DONE]") == data("[DONE]")
    assert decode(b"data: [DONE]\r") == data("[DONE]")


def test_a_line_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(UnicodeDecodeError):
        decode(b"data: \xff\xfe\n\n")


def test_one_very_long_line_takes_linear_time() -> None:
    piece = b"x" * 65_536
    events = decode(b"data: ", *[piece] * 300, b"\n\n")
    assert len(events[0].data) == 300 * 65_536
