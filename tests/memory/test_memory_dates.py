"""Dates in texts: what they mean seen from a Wednesday in May, and what is no date."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwinter.memory.dates import find_dates, from_us, to_us

NOW = to_us(datetime(2031, 5, 14, 15, 30, tzinfo=UTC))
OPEN = "…"

CASES = [
    ("on 2031-03-12 it snowed", "2031-03-12", "2031-03-13", "2031-03-12"),
    ("2031/03/12", "2031-03-12", "2031-03-13", "2031/03/12"),
    ("12.03.2031", "2031-03-12", "2031-03-13", "12.03.2031"),
    ("13/04/2031", "2031-04-13", "2031-04-14", "13/04/2031"),
    ("at 2031-03-12T10:15Z", "2031-03-12T10:15", "2031-03-12T10:16", "2031-03-12T10:15Z"),
    ("at 2031-03-12T10:15:00+02:00", "2031-03-12T08:15", "2031-03-12T08:15:01", "2031-03-12T10:15:00+02:00"),
    ("12 March 2031", "2031-03-12", "2031-03-13", "12 March 2031"),
    ("Wednesday, the 12th of March 2031", "2031-03-12", "2031-03-13", "Wednesday, the 12th of March 2031"),
    ("March 12, 2031", "2031-03-12", "2031-03-13", "March 12, 2031"),
    ("8 May, 2023", "2023-05-08", "2023-05-09", "8 May, 2023"),
    ("on March 12th", "2031-03-12", "2031-03-13", "March 12th"),
    ("on 20 December", "2030-12-20", "2030-12-21", "20 December"),
    ("it is due on 20 December", "2031-12-20", "2031-12-21", "20 December"),
    ("12-15 March 2031", "2031-03-12", "2031-03-16", "12-15 March 2031"),
    ("March 2031", "2031-03-01", "2031-04-01", "March 2031"),
    ("in may", "2031-05-01", "2031-06-01", "may"),
    ("last March", "2031-03-01", "2031-04-01", "last March"),
    ("next March", "2032-03-01", "2032-04-01", "next March"),
    ("early March 2031", "2031-03-01", "2031-03-11T08:00", "early March 2031"),
    ("in 2031", "2031-01-01", "2032-01-01", "2031"),
    ("the 2020s", "2020-01-01", "2030-01-01", "the 2020s"),
    ("Q2 2031", "2031-04-01", "2031-07-01", "Q2 2031"),
    ("the second quarter of 2030", "2030-04-01", "2030-07-01", "the second quarter of 2030"),
    ("2031-W15", "2031-04-07", "2031-04-14", "2031-W15"),
    ("yesterday", "2031-05-13", "2031-05-14", "yesterday"),
    ("the day before yesterday", "2031-05-12", "2031-05-13", "the day before yesterday"),
    ("tomorrow", "2031-05-15", "2031-05-16", "tomorrow"),
    ("this morning", "2031-05-14T05:00", "2031-05-14T12:00", "this morning"),
    ("yesterday evening", "2031-05-13T18:00", "2031-05-14", "yesterday evening"),
    ("last night", "2031-05-13T18:00", "2031-05-14T06:00", "last night"),
    ("last Friday", "2031-05-09", "2031-05-10", "last Friday"),
    ("last Wednesday", "2031-05-07", "2031-05-08", "last Wednesday"),
    ("next Tuesday", "2031-05-20", "2031-05-21", "next Tuesday"),
    ("this Friday", "2031-05-16", "2031-05-17", "this Friday"),
    ("came on Friday", "2031-05-09", "2031-05-10", "Friday"),
    ("will come on Friday", "2031-05-16", "2031-05-17", "Friday"),
    ("three weeks ago", "2031-04-21", "2031-04-28", "three weeks ago"),
    ("2 days ago", "2031-05-12", "2031-05-13", "2 days ago"),
    ("a couple of months ago", "2031-03-01", "2031-04-01", "a couple of months ago"),
    ("a few days ago", "2031-05-09", "2031-05-13", "a few days ago"),
    ("a year ago", "2030-01-01", "2031-01-01", "a year ago"),
    ("in three weeks", "2031-06-02", "2031-06-09", "in three weeks"),
    ("the last 3 days", "2031-05-11T15:30", "2031-05-14T15:30", "the last 3 days"),
    ("within two months", "2031-05-14T15:30", "2031-07-14T15:30", "within two months"),
    ("last week", "2031-05-05", "2031-05-12", "last week"),
    ("last weekend", "2031-05-10", "2031-05-12", "last weekend"),
    ("next month", "2031-06-01", "2031-07-01", "next month"),
    ("last summer", "2030-06-01", "2030-09-01", "last summer"),
    ("summer 2030", "2030-06-01", "2030-09-01", "summer 2030"),
    ("in the winter of 2030", "2030-12-01", "2031-03-01", "the winter of 2030"),
    ("the week of March 5", "2031-03-03", "2031-03-10", "the week of March 5"),
    ("the Sunday before 25 May 2023", "2023-05-21", "2023-05-22", "the Sunday before 25 May 2023"),
    ("the week before 9 June 2023", "2023-05-29", "2023-06-05", "the week before 9 June 2023"),
    ("two weeks before 9 June 2023", "2023-05-22", "2023-05-29", "two weeks before 9 June 2023"),
    ("between March and June 2031", "2031-03-01", "2031-07-01", "between March and June 2031"),
    ("between 2029 and 2031", "2029-01-01", "2032-01-01", "between 2029 and 2031"),
    ("from 3 May to 9 May 2030", "2030-05-03", "2030-05-10", "from 3 May to 9 May 2030"),
    ("from Monday to Wednesday", "2031-05-12", "2031-05-15", "from Monday to Wednesday"),
    ("since March", "2031-03-01", OPEN, "since March"),
    ("as of 2031-02-03", "2031-02-03", OPEN, "as of 2031-02-03"),
    ("after March 2031", "2031-04-01", OPEN, "after March 2031"),
    ("away until June", OPEN, "2031-07-01", "until June"),
    ("by Friday", OPEN, "2031-05-17", "by Friday"),
    ("before 2030", OPEN, "2030-01-01", "before 2030"),
]


def _moment(us: int | None) -> str:
    return OPEN if us is None else from_us(us).strftime("%Y-%m-%dT%H:%M:%S").removesuffix(":00").removesuffix("T00:00")


@pytest.mark.parametrize(("text", "since", "until", "words"), CASES, ids=[case[0] for case in CASES])
def test_a_date_is_a_half_open_range(text: str, since: str, until: str, words: str) -> None:
    found = find_dates(text, NOW)
    assert [(_moment(range_.since_us), _moment(range_.until_us), range_.words) for range_ in found] == [
        (since, until, words)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "you may go now",
        "it may 5 times fail",
        "I march on",
        "May was there",
        "03/04/2031",
        "costs 2031 euros",
        "in 2031 items of 4000",
        "30 Feb 2031",
        "hash 20310312abc",
        "spring forward, fall back",
        "run 2031-03-12-a7",
        "the sun sat on the wall",
        "version 1.12.3",
        "second to none",
        "2 days",
        "every day",
        "port 2031",
    ],
)
def test_what_is_ambiguous_or_no_date_is_left_out(text: str) -> None:
    assert find_dates(text, NOW) == []


def test_several_dates_in_one_text_come_in_order() -> None:
    found = find_dates("From 2 March 2031 on she lived in Rome. Last week she moved; by Friday it will be done.", NOW)
    assert [range_.words for range_ in found] == ["From 2 March 2031", "Last week", "by Friday"]


def test_a_sentence_that_points_ahead_does_not_pull_the_next_one() -> None:
    found = find_dates("The report will come on Friday. I wrote it on Monday.", NOW)
    assert [_moment(range_.since_us) for range_ in found] == ["2031-05-16", "2031-05-12"]


@given(st.text(max_size=80), st.integers(min_value=-(10**17), max_value=10**17))
def test_any_text_gives_sound_ranges(text: str, reference_us: int) -> None:
    for range_ in find_dates(text, reference_us):
        assert text[range_.first : range_.last] == range_.words
        if range_.since_us is not None and range_.until_us is not None:
            assert range_.since_us < range_.until_us


@given(
    st.datetimes(min_value=datetime(1901, 1, 1), max_value=datetime(2189, 12, 31)),
    st.integers(min_value=0, max_value=4),
)
def test_however_a_day_is_written_it_is_that_day(day: datetime, form: int) -> None:
    months = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ]
    name = months[day.month - 1]
    text = (
        f"{day:%Y-%m-%d}",
        f"{day.day} {name} {day.year}",
        f"{name} {day.day}, {day.year}",
        f"the {day.day}th of {name[:3]} {day.year}",
        f"{day:%d.%m.%Y}",
    )[form]
    (found,) = find_dates(f"It was on {text}.", NOW)
    start = to_us(day.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC))
    assert (found.since_us, found.until_us) == (start, start + 86_400_000_000)
