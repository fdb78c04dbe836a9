"""The scan over sign bits against its plain twin, and what becomes of vectors whose units are removed."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

from find_kit import filled, make_unit  # noqa: E402

from overwinter.errors import UsageError  # noqa: E402
from overwinter.memory import vectors as module  # noqa: E402
from overwinter.memory.plain import PlainIndex  # noqa: E402
from overwinter.memory.unit import Filter  # noqa: E402
from overwinter.memory.vectors import Config, VectorScan, to_bytes  # noqa: E402

DIM = 70  # no multiple of 64


def _cloud(count: int, dim: int, seed: int):  # -> float32 [count, dim], norm 1, in clusters as texts are
    centres = np.random.default_rng(0).normal(size=(40, dim))
    random = np.random.default_rng(seed)
    points = centres[random.integers(0, 40, count)] + 0.7 * random.normal(size=(count, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def _stored(cloud) -> PlainIndex:
    index = filled([make_unit(i, f"unit {i}") for i in range(len(cloud))])
    _put(index, cloud, 0)
    return index


def _put(index: PlainIndex, cloud, first: int) -> None:
    with index.transaction():
        index.put_vectors("m", cloud.shape[1], [(first + i, to_bytes(vector)) for i, vector in enumerate(cloud)])


def _scan(index: PlainIndex, **config: int) -> VectorScan:
    scan = VectorScan(index, "m", Config(**config))
    scan.refresh()
    return scan


def test_recall_against_the_exact_scan() -> None:
    cloud = _cloud(20_000, 384, 1)
    index = PlainIndex()
    scan = VectorScan(index, "m", Config(rescored=1000))
    scan._dim = 384  # twenty thousand units of text would only slow the test down
    scan._append([(row, to_bytes(vector)) for row, vector in enumerate(cloud)])
    found = 0
    for query in _cloud(50, 384, 2):
        exact = {row for row, _ in scan.exact(query, 10)}
        found += len(exact & {row for row, _ in scan.search(query, 10)})
    assert found / 500 >= 0.99


def test_all_rescored_equals_exact() -> None:
    scan = _scan(_stored(_cloud(300, DIM, 3)), rescored=300)
    for query in _cloud(5, DIM, 4):
        assert scan.search(query, 12) == scan.exact(query, 12)
        assert scan.scores([5, 7, 9999], query) == pytest.approx(
            {row: score for row, score in scan.exact(query, 300) if row in (5, 7)}
        )


def test_new_vectors_are_appended_and_late_ones_are_not_missed() -> None:
    cloud = _cloud(30, DIM, 5)
    index = _stored(cloud[:0])
    with index.transaction():
        index.put_units([make_unit(i, f"unit {i}") for i in range(30)])
    _put(index, cloud[10:20], 10)
    scan = _scan(index)
    assert len(scan) == 10
    _put(index, cloud[20:], 20)
    assert scan.refresh() == 10
    _put(index, cloud[:10], 0)  # rows before the last one seen
    assert scan.refresh() == 10
    assert {scan.search(vector, 1)[0][0] for vector in cloud} == set(range(30))


def test_removed_units_are_neither_found_nor_kept() -> None:
    cloud = _cloud(40, DIM, 6)
    index = _stored(cloud)
    scan = _scan(index)

    def allowed(rows):
        return index.allowed(rows, Filter())

    with index.transaction():
        index.remove_units([index.units([7])[0].id])
    assert 7 not in {row for row, _ in scan.search(cloud[7], 40, allowed)}  # before the scan has noticed
    scan.refresh()
    assert len(scan) == 39
    assert 7 not in {row for row, _ in scan.search(cloud[7], 40)}
    assert to_bytes(cloud[7]) not in b"".join(segment.halves_ND.tobytes() for segment in scan._segments)


def test_a_narrow_filter_widens_the_search() -> None:
    cloud = _cloud(400, DIM, 7)
    scan = _scan(_stored(cloud), rescored=10)
    few = {3, 77, 399}
    found = scan.search(cloud[100], 10, lambda rows: few & set(rows))
    assert found == scan.exact(cloud[100], 10, lambda rows: few & set(rows))
    assert {row for row, _ in found} == few


def test_segments_on_disk_are_searched_like_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT", 64)
    cloud = _cloud(200, DIM, 8)
    index = _stored(cloud)
    in_ram, on_disk = _scan(index), _scan(index, ram_bytes=64 * DIM * 2)
    assert isinstance(on_disk._segments[1].halves_ND, np.memmap)
    for query in _cloud(5, DIM, 9):
        assert in_ram.search(query, 10) == on_disk.search(query, 10) == on_disk.exact(query, 10)


def test_a_vector_of_another_model_is_refused() -> None:
    scan = _scan(_stored(_cloud(3, DIM, 1)))
    with pytest.raises(UsageError, match="embed questions with the model"):
        scan.search(np.zeros(3, np.float32), 1)


def test_no_vectors_find_nothing() -> None:
    scan = _scan(PlainIndex())
    assert scan.search(np.zeros(3, np.float32), 5) == []


def test_the_old_generation_serves_until_the_new_one_is_complete() -> None:
    from overwinter.memory.embed.generations import Generations

    class Model:
        dim, max_tokens = DIM, 256

        def __init__(self, name: str) -> None:
            self.name = name

    cloud = _cloud(4, DIM, 11)
    index = _stored(cloud)  # the generation "m"
    generations = Generations(index, Model("new"), previous=Model("m"))

    def used() -> str:
        current = generations.refresh()
        assert current is not None
        assert len(current[1]) == index.vector_models()[current[0].name][1]
        return current[0].name

    def embed(rows: list[int]) -> None:
        with index.transaction():
            index.put_vectors("new", DIM, [(row, to_bytes(cloud[row])) for row in rows])

    assert used() == "m"
    embed([0, 1, 2])
    assert used() == "m"
    assert generations.drop_old() == []
    embed([3])
    assert used() == "new"
    with index.transaction():
        index.put_units([make_unit(4, "waits for its vector")])
    assert used() == "new"
    assert generations.drop_old() == ["m"]
    assert Generations(index, Model("other")).refresh() is None
