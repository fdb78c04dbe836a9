"""Notebooks: a page is a function of what was seen, its lines come from a finite list, and facts told once stay on it."""

from __future__ import annotations

import pytest

from overwinter.errors import UsageError
from overwinter.worlds import open_policy, open_world
from overwinter.worlds.greenhouse.notebook import all_lines
from overwinter.worlds.notebook import LastSeen, Notebook, open_notebook, page
from overwinter.worlds.world import Observation


def pages_of(policy: str, seed: int, name: str = "greenhouse:days=60") -> list[list[str]]:
    """The page before each action of an episode."""
    world, player, notebook = open_world(name), open_policy(name, policy), open_notebook(name)
    observation = world.reset(seed)
    player.reset(seed)
    notebook.take_in(None, observation)
    pages = [notebook.lines()]
    while world.actions():
        action = player.act(observation, world.actions())
        observation = world.step(action).observation
        notebook.take_in(action, observation)
        pages.append(notebook.lines())
    return pages


@pytest.mark.parametrize("policy", ["random", "rules", "expert"])
@pytest.mark.parametrize("name", ["greenhouse:days=40", "greenhouse:days=150", "greenhouse:days=30,winters=2"])
def test_every_line_is_one_of_a_finite_list(policy: str, name: str) -> None:
    known = set(all_lines())
    assert len(known) == len(all_lines())
    for seed in range(2):
        strange = {line for lines in pages_of(policy, seed, name) for line in lines} - known
        assert not strange


def test_a_page_is_a_function_of_what_was_seen() -> None:
    assert pages_of("expert", 3) == pages_of("expert", 3)
    assert pages_of("expert", 3) != pages_of("expert", 4)


def test_a_note_of_the_first_days_stands_until_it_is_past() -> None:
    pages = pages_of("rules", 5)
    by_day = {lines[0]: lines for lines in pages}
    assert "holiday none" in by_day["day 2"]  # 1st of 60 days, which count as 120
    assert any(line.startswith("holiday in ") for line in by_day["day 10"])
    assert any(line.startswith("mouldy seed ") and not line.endswith("none") for line in by_day["day 20"])
    assert any(line in ("holiday over", "holiday none") or line.startswith("holiday ") for line in by_day["day 120"])


def test_what_the_expert_saw_in_a_bed_is_on_the_page() -> None:
    """After an inspection the count stands at the bed, and the days since then are counted."""
    world, notebook = open_world("greenhouse"), open_notebook("greenhouse")
    notebook.take_in(None, world.reset(0))
    for _ in range(6):
        notebook.take_in("wait", world.step("wait").observation)
    assert "south unseen 6" in notebook.lines()
    notebook.take_in("inspect south bed", world.step("inspect south bed").observation)
    assert "south unseen 0" in notebook.lines()
    assert "did inspected south" in notebook.lines()


def test_the_evenings_setting_counts_for_the_night() -> None:
    """Shutters closed in the last slot are seen only the next morning; the heat balance of that night must know of them."""
    seen = []
    for told in (True, False):
        world, notebook = open_world("greenhouse"), open_notebook("greenhouse")
        notebook.take_in(None, world.reset(1))
        notebook.take_in("inspect south bed", world.step("inspect south bed").observation)
        observation = world.step("close shutters").observation
        notebook.take_in("close shutters" if told else "wait", observation)
        seen.append(notebook.belief.inside_c)  # type: ignore[attr-defined]
    assert seen[0] > seen[1]  # closed shutters keep warmth in, so the same fuel tells of a warmer house


def test_the_plain_notebook_keeps_the_last_actions() -> None:
    notebook: Notebook = LastSeen(kept=2)
    notebook.take_in(None, Observation(text="a\nb"))
    for action in ("go", "look", "wait"):
        notebook.take_in(action, Observation(text=f"after {action}"))
    assert notebook.lines() == ["did look", "did wait", "after wait"]
    notebook.reset()
    assert notebook.lines() == []


def test_a_page_has_a_slot_for_the_outcome() -> None:
    assert page(["day 1", "left 2"]) == "day 1\nleft 2\n"
    assert page(["day 1"], "badly") == "day 1\noutcome badly\n"
    with pytest.raises(UsageError, match="use one of"):
        page([], "brilliant")
