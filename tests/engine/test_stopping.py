"""Stop strings: the pieces in which a text arrives change nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.engine.stopping import StopMatcher
from overwinter.errors import UsageError

LETTERS = st.text(alphabet="ab\n", max_size=40)
STOPS = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=5), max_size=4)


def scan(text: str, stops: list[str], *, include: bool) -> tuple[str, str | None]:
    """The oracle: looks at every end of the whole text."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            stop = max(found, key=len)
            return text[: end if include else end - len(stop)], stop
    return text, None


def stream(pieces: list[str], matcher: StopMatcher) -> tuple[str, str | None]:
    shown = ""
    for piece in pieces:
        release = matcher.push(piece)
        shown += release.text
        if release.stop is not None:
            return shown, release.stop
    return shown + matcher.finish(), None


@given(st.lists(LETTERS, max_size=8), STOPS, st.booleans())
def test_any_split_gives_what_a_scan_of_the_whole_text_gives(
    pieces: list[str], stops: list[str], include: bool
) -> None:
    matcher = StopMatcher(stops, include=include)
    assert stream(pieces, matcher) == scan("".join(pieces), stops, include=include)


@given(LETTERS, STOPS)
def test_no_more_is_held_than_must_be(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    read = ""
    for character in text:
        release = matcher.push(character)
        read += character
        if release.stop is not None:
            return
        beginnings = [stop[:length] for stop in stops for length in range(len(stop))]
        assert len(matcher.held) == max((len(one) for one in beginnings if read.endswith(one)), default=0)


@given(LETTERS, LETTERS, STOPS, st.booleans())
def test_a_matcher_resumes_from_what_it_held(before: str, after: str, stops: list[str], include: bool) -> None:
    matcher = StopMatcher(stops, include=include)
    if matcher.push(before).stop is not None:
        return
    resumed = StopMatcher(stops, include=include)
    assert resumed.push(matcher.held).text == ""
    assert stream([after], resumed) == stream([after], matcher)


def test_a_stop_string_over_three_tokens() -> None:
    matcher = StopMatcher(["</answer>"])
    assert [matcher.push(piece).text for piece in ("42 <", "/ans", "wered> </an")] == ["42 ", "", "</answered> "]
    last = matcher.push("swer> and more")
    assert (last.text, last.stop, matcher.held, matcher.stopped) == ("", "</answer>", "", "</answer>")


def test_the_stop_string_is_kept_on_request() -> None:
    assert stream(["one\n", "\ntwo"], StopMatcher(["\n\n"], include=True)) == ("one\n\n", "\n\n")


def test_the_first_to_end_wins_and_then_the_longest() -> None:
    assert stream(["xabc"], StopMatcher(["abc", "b"])) == ("xa", "b")
    assert stream(["xabc"], StopMatcher(["c", "abc"])) == ("x", "abc")


def test_without_stop_strings_nothing_is_held() -> None:
    matcher = StopMatcher([])
    assert matcher.push("anything").text == "anything"
    assert matcher.finish() == ""


def test_one_string_is_one_stop_string() -> None:
    assert stream(["a stop, b"], StopMatcher("stop")) == ("a ", "stop")


@pytest.mark.parametrize("stops", [[""], ["fine", ""], [3]])
def test_what_is_no_stop_string_is_refused(stops: list[str]) -> None:
    with pytest.raises(UsageError, match="at least one character"):
        StopMatcher(stops)


def test_nothing_can_be_pushed_after_the_end() -> None:
    matcher = StopMatcher(["b"])
    matcher.push("ab")
    with pytest.raises(UsageError, match="has ended at 'b'"):
        matcher.push("c")
