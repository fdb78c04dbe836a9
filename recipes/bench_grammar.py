"""Libraries for decoding under a schema, a regular expression or a grammar, side by side: what they honour and what they cost.

python recipes/bench_grammar.py TOKENIZER.json   # some minutes; prints the tables and writes them into docs/constraints.md
python recipes/bench_grammar.py --quick          # a smoke run with a small vocabulary: prints, writes nothing

A library that is not installed is left out. The cases are in bench_grammar_cases.py; schemas count by their worst outcome:

    wrong      a document that the schema forbids is accepted, or a random walk under the mask ends in one
    narrower   a valid document is refused
    refused    the library says that it cannot do it
    honoured   none of these
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from bench_grammar_cases import CALL, EBNF, LARK, REGEXES, SCHEMAS, SchemaCase, TextCase
from bench_grammar_libraries import END, Library, LLGuidance, Overwinter, distribution, installed
from bench_journal import ROOT, table, write_between

BEGIN, END_MARK = "<!-- bench_grammar: begin -->", "<!-- bench_grammar: end -->"
SPACED, COMPACT = (", ", ": "), (",", ":")
WALK_TOKENS = 400
OUTCOMES = ("honoured", "narrower", "refused", "wrong")
FORMATS = {
    "date": r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])",
    "date-time": r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
    "uuid": r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "ipv4": r"((25[0-5]|2[0-4]\d|1?\d?\d)(\.|$)){4}",
    "email": r"[^@]+@[^@]+",
}
CHECKER = jsonschema.FormatChecker(())
for _name, _pattern in FORMATS.items():
    CHECKER.checks(_name)(lambda value, _p=_pattern: not isinstance(value, str) or bool(re.fullmatch(_p, value)))


# Vocabularies


class Vocabulary(NamedTuple):
    """A tokenizer whose end token is id 0, and the width of its model's head."""

    tokenizer: Tokenizer
    width: int

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


def small_vocabulary(tokens: int = 512) -> Vocabulary:
    """A byte-level BPE trained on the cases themselves, so that JSON and words of several bytes are tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=tokens,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    lines = [json.dumps([case.schema, *case.valid], ensure_ascii=False) for case in SCHEMAS]
    tokenizer.train_from_iterator(lines * 4, trainer)
    return Vocabulary(tokenizer, tokens)


def large_vocabulary(path: Path) -> Vocabulary:
    """The head is wider than the tokenizer, as heads that are padded to a multiple of 128 are."""
    tokenizer = Tokenizer.from_file(str(path))
    return Vocabulary(tokenizer, -(-tokenizer.get_vocab_size() // 128) * 128)


# What is honoured


def bit_row(width: int) -> torch.Tensor:
    return torch.zeros((1, (width + 31) // 32), dtype=torch.int32)


def allowed_in(bits_1W: torch.Tensor) -> list[int]:
    bits = (bits_1W[0][:, None] >> torch.arange(32)) & 1
    return bits.flatten().nonzero().flatten().tolist()


def accepts(library: Library, compiled: Any, ids: Sequence[int]) -> bool:
    """Token by token, and the end behind them."""
    matcher = library.begin(compiled)
    return all(library.accept(matcher, token) for token in [*ids, END])


def spellings(document: Any) -> Iterator[str]:
    for separators in (SPACED, COMPACT):
        yield json.dumps(document, ensure_ascii=False, separators=separators)


def walk(library: Library, compiled: Any, vocabulary: Vocabulary, rng: random.Random) -> str | None:
    """What a model with random logits would write, with a liking for what closes; None where it never ended."""
    matcher, bits_1W, ids = library.begin(compiled), bit_row(vocabulary.width), []
    closing = {END, *(vocabulary.tokenizer.token_to_id(mark) for mark in '"}]')}
    for _ in range(WALK_TOKENS):
        library.mask_(matcher, bits_1W)
        allowed = allowed_in(bits_1W)
        closers = [token for token in allowed if token in closing]
        token = rng.choice(closers if closers and rng.random() < 0.4 else allowed)
        if not library.accept(matcher, token):
            return f"token {token} was in the mask and was not accepted behind {ids}"
        if token == END:
            return vocabulary.tokenizer.decode(ids)
        ids.append(token)
    return None


def is_valid(schema: Any, text: str) -> bool:
    try:
        jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator, format_checker=CHECKER)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True


class Verdict(NamedTuple):
    """One library on one case, with the evidence."""

    outcome: str
    evidence: str = ""
    walks: int = 0


def judge_schema(library: Library, vocabulary: Vocabulary, case: SchemaCase, walks: int) -> Verdict:
    try:
        compiled = library.compile("schema", case.schema)
        library.begin(compiled)
    except Exception as refusal:  # noqa: BLE001 (each library has exceptions of its own)
        return Verdict("refused", _first_line(refusal))
    for document in case.invalid:
        if any(accepts(library, compiled, vocabulary.ids(text)) for text in spellings(document)):
            return Verdict("wrong", f"accepts {json.dumps(document, ensure_ascii=False)}")
    rng, ended = random.Random(case.name), 0
    for _ in range(walks):
        text = walk(library, compiled, vocabulary, rng)
        ended += text is not None
        if text is not None and not is_valid(case.schema, text):
            return Verdict("wrong", f"writes {text[:60]!r}", ended)
    for document in case.valid:
        for text in spellings(document):
            if not accepts(library, compiled, vocabulary.ids(text)):
                return Verdict("narrower", f"refuses {text}", ended)
    return Verdict("honoured", "", ended)


def judge_text(library: Library, vocabulary: Vocabulary, kind: str, case: TextCase) -> Verdict:
    try:
        compiled = library.compile(kind, case.source)
        library.begin(compiled)
    except LookupError:
        return Verdict("refused", "no such grammar language")
    except Exception as refusal:  # noqa: BLE001 (each library has exceptions of its own)
        return Verdict("refused", _first_line(refusal))
    for text in case.invalid:
        if accepts(library, compiled, vocabulary.ids(text)):
            return Verdict("wrong", f"accepts {text!r}")
    for text in case.valid:
        if not accepts(library, compiled, vocabulary.ids(text)):
            return Verdict("narrower", f"refuses {text!r}")
    return Verdict("honoured")


def _first_line(refusal: Exception) -> str:
    lines = [line.strip() for line in str(refusal).splitlines() if line.strip()]
    return (lines[0] if lines else type(refusal).__name__)[:90]


def feature_tables(libraries: list[Library], vocabulary: Vocabulary, walks: int) -> str:
    schema_rows, counts, ended = [], {library.name: Counter[str]() for library in libraries}, Counter[str]()
    for case in SCHEMAS:
        verdicts = [judge_schema(library, vocabulary, case, walks) for library in libraries]
        for library, verdict in zip(libraries, verdicts, strict=True):
            counts[library.name][verdict.outcome] += 1
            ended[library.name] += verdict.walks
        if any(verdict.outcome != "honoured" for verdict in verdicts):
            schema_rows.append([case.name, *map(_cell, verdicts)])
    names = [library.name for library in libraries]
    totals = [[outcome, *(str(counts[name][outcome]) for name in names)] for outcome in OUTCOMES]
    totals.append(["random walks that ended", *(f"{ended[name]:,}" for name in names)])
    texts = [("regex", case) for case in REGEXES] + [("lark", LARK), ("ebnf", EBNF)]
    text_rows = [
        [f"{kind}: {case.name}", *(_cell(judge_text(library, vocabulary, kind, case)) for library in libraries)]
        for kind, case in texts
    ]
    return (
        f"{len(SCHEMAS)} schemas, vocabulary {vocabulary.width:,}, {walks} random walks each of at most {WALK_TOKENS} tokens,"
        f" judged by jsonschema:\n\n{table(['schemas', *names], totals)}\n\n"
        f"The schemas that are not honoured by all:\n\n{table(['schema', *names], schema_rows)}\n\n"
        f"Regular expressions and grammars:\n\n{table(['case', *names], text_rows)}"
    )


def _cell(verdict: Verdict) -> str:
    evidence = verdict.evidence.replace("|", "\\|").replace("<", "&lt;")
    return verdict.outcome if verdict.outcome in {"honoured", "refused"} else f"{verdict.outcome}: {evidence}"


# What it costs


RECORD_SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 200},
        "day": {"type": "string", "format": "date"},
        "kind": {"enum": ["harvest", "storm", "order", "repair"]},
        "readings": {"type": "array", "items": {"type": "number", "minimum": -60, "maximum": 60}, "maxItems": 50},
        "notes": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["title", "day", "kind", "readings", "notes"],
    "additionalProperties": False,
}
RECORD = {
    "title": "The storm of the ninth week broke two panes of the north wall and froze the seedlings beneath them",
    "day": "2026-11-23",
    "kind": "storm",
    "readings": [-12.5, -9.25, 3, 0, 17.75, 21.5, -1.125, 40],
    "notes": [
        "Fuel for eleven days is left.",
        "Order more before Friday; the road closes then.",
        "Grüße an die Nachbarn. 雪",
    ],
}
ORDER = {"tool": "order", "arguments": {"fuel": 120.5, "day": "2026-12-01"}}
TIMED: list[tuple[str, str, Any, str]] = [
    ("tool call", "schema", CALL, json.dumps(ORDER)),
    ("record", "schema", RECORD_SCHEMA, json.dumps(RECORD, ensure_ascii=False)),
    ("any JSON", "schema", {}, json.dumps(RECORD, ensure_ascii=False, indent=2)),
    ("regex", "regex", r"[A-Za-z ,;.]{1,200}", RECORD["title"]),
    ("Lark grammar", "lark", LARK.source, "(1+2*3)-(44*(5+66))/7-8*(9+10)"),
]


def microseconds(case: Callable[[], object]) -> float:
    """Processor time of this thread: what else runs on the machine does not count."""
    began = time.thread_time()
    case()
    return (time.thread_time() - began) * 1e6


class Times(NamedTuple):
    """Microseconds of one case and library; masks and accepts are one number for each token."""

    compile: list[float]
    begin: list[float]
    cold_mask: list[float]
    mask: list[float]
    accept: list[float]
    copy: list[float]
    back: list[float]


def measure(library: Library, vocabulary: Vocabulary, case: tuple[str, str, Any, str], turns: int) -> Times:
    """The first document of each compiled constraint is the cold one: libraries learn lexers or caches as they go."""
    _, kind, source, text = case
    ids, times = vocabulary.ids(text), Times([], [], [], [], [], [], [])
    for _ in range(turns):
        began = time.process_time()  # a compiler may use threads of its own
        compiled = library.compile(kind, source)
        times.compile.append((time.process_time() - began) * 1e6)
        _one_document(library, vocabulary, compiled, ids, times.cold_mask, times)
        _one_document(library, vocabulary, compiled, ids, times.mask, times)
    return times


def _one_document(
    library: Library, vocabulary: Vocabulary, compiled: Any, ids: list[int], masks: list[float], times: Times
) -> None:
    bits_1W, matchers = bit_row(vocabulary.width), []
    times.begin.append(microseconds(lambda: matchers.append(library.begin(compiled))))
    matcher = matchers[0]
    for token in [*ids, END]:
        masks.append(microseconds(lambda: library.mask_(matcher, bits_1W)))
        if not int(bits_1W[0, token // 32]) >> token % 32 & 1:
            raise SystemExit(f"{library.name} masks token {token} of the document")
        times.copy.append(microseconds(lambda: library.copy(matcher)))
        times.accept.append(microseconds(lambda token=token: library.accept(matcher, token)))
        if token != END:
            times.back.append(microseconds(lambda: library.go_back(matcher, 1)))
            if not library.accept(matcher, token):
                raise SystemExit(f"{library.name} does not take token {token} again, after going back")


def _figures(values: list[float]) -> str:
    """Median and 99th percentile; what is beyond is the machine's, not the library's."""
    return f"{statistics.median(values):,.0f} / {sorted(values)[len(values) * 99 // 100]:,.0f}"


def cost_table(libraries: list[Library], vocabulary: Vocabulary, turns: int) -> str:
    rows = []
    for case in TIMED:
        found = {}
        for library in libraries:
            measure(library, vocabulary, case, 1)
        for turn in range(2):  # forwards and backwards
            for library in libraries[:: -1 if turn else 1]:
                times = measure(library, vocabulary, case, turns)
                old = found.get(library.name, Times([], [], [], [], [], [], []))
                found[library.name] = Times(*(a + b for a, b in zip(old, times, strict=True)))
        label = f"{case[0]}, {len(vocabulary.ids(case[3])) + 1} tokens"
        for name, times in found.items():
            rows.append([label, name, f"{statistics.median(times.compile):,.0f}", *map(_figures, times[2:4])])
            rows[-1] += [
                f"{statistics.median(values):,.1f}" for values in (times.begin, times.accept, times.copy, times.back)
            ]
    head = ["µs", "library", "compile", "mask, first document", "mask, later ones", "begin", "accept", "copy", "back"]
    return table(head, rows)


def engine_table(vocabulary: Vocabulary, turns: int) -> str:
    """What a step of the engine pays: the mask of a batch on its logits, and the chosen tokens; rows at different places."""
    from overwinter.engine.grammar import GrammarConstraint
    from overwinter.engine.vocabulary import Vocabulary as TokenTable

    table_of_tokens = TokenTable.of(vocabulary.tokenizer, end_ids=[END], vocab_size=vocabulary.width)
    makers = {
        "schema": GrammarConstraint.from_json_schema,
        "regex": GrammarConstraint.from_regex,
        "lark": GrammarConstraint.from_grammar,
    }
    rows = []
    for name, kind, source, text in TIMED:
        constraint: Any = makers[kind](source, table_of_tokens)
        ids = vocabulary.ids(text)
        for batch in (1, 16):
            masks, accepts = [], []
            for _ in range(turns):
                one, other = _engine_steps(constraint, ids, batch, vocabulary.width)
                masks, accepts = masks + one, accepts + other
            rows.append([name, str(batch), _figures(masks), _figures(accepts)])
    return table(["µs for the whole batch", "rows", "mask", "advance"], rows)


def _engine_steps(constraint: Any, ids: list[int], batch: int, width: int) -> tuple[list[float], list[float]]:
    states, places = [], [row * len(ids) // (2 * batch) for row in range(batch)]
    for place in places:
        state = constraint.start()
        for token in ids[:place]:
            state = constraint.advance(state, token)
        states.append(state)
    masks, accepts = [], []
    for step in range(len(ids) - places[-1]):
        logits_RV = torch.randn(batch, width)
        masks.append(microseconds(lambda logits_RV=logits_RV: constraint.constrain_(logits_RV, states)))
        began = time.thread_time()
        for row, place in enumerate(places):
            states[row] = constraint.advance(states[row], ids[place + step])
        accepts.append((time.thread_time() - began) * 1e6)
    return masks, accepts


AMBIGUOUS = 'start: s\ns: s s | "a"'


def limit_table(library: LLGuidance, vocabulary: Vocabulary, limits: Sequence[int]) -> str:
    """What an ambiguous grammar costs until it is refused, for each limit of parser items at one place."""
    bits_1W, (letter,) = bit_row(vocabulary.width), vocabulary.ids("a")
    rows = []
    for limit in limits:
        matcher, tokens, slowest, began = library.limited(AMBIGUOUS, limit), 0, 0.0, time.thread_time()
        while not matcher.is_error():
            slowest = max(slowest, microseconds(lambda matcher=matcher: library.mask_(matcher, bits_1W)))
            slowest = max(slowest, microseconds(lambda matcher=matcher: library.accept(matcher, letter)))
            tokens += 1
        rows.append([f"{limit:,}", f"{tokens:,}", f"{time.thread_time() - began:.1f}", f"{slowest / 1e3:,.0f}"])
    return table(["items at one place", "tokens until it is refused", "s in all", "slowest step, ms"], rows)


def setup_table(libraries: list[Library], took: dict[str, list[str]]) -> str:
    rows = []
    for library in libraries:
        found = distribution(library.name)
        assert found is not None
        needs = sorted({re.split(r"[^\w.-]", need)[0] for need in found.requires or () if "extra ==" not in need})
        size = sum((found.locate_file(file)).stat().st_size for file in found.files or ())
        rows.append(
            [
                library.name,
                found.version,
                f"{size / 1e6:.1f} MB",
                ", ".join(needs) or "nothing",
                *took[library.name],
            ]
        )
    head = ["library", "version", "installed", "requires", *(f"tokenizer of {width}, ms" for width in took["widths"])]
    return table(head, rows)


def report(vocabularies: list[Vocabulary], walks: int, turns: int) -> str:
    kinds = installed()
    if not kinds:
        raise SystemExit("no library is installed: pip install llguidance")
    took: dict[str, list[str]] = {kind.name: [] for kind in kinds} | {"widths": []}
    built: list[list[Library]] = []
    for vocabulary in vocabularies:
        built.append([])
        took["widths"].append(f"{vocabulary.width:,}")
        for kind in kinds:
            began = time.process_time()
            built[-1].append(kind(vocabulary.tokenizer, vocabulary.width))
            took[kind.name].append(f"{(time.process_time() - began) * 1e3:,.0f}")
    small = vocabularies[0]
    ours = [Overwinter(small.tokenizer, small.width)] if LLGuidance in kinds else []
    parts = [setup_table(built[0], took), feature_tables([*built[0], *ours], small, walks)]
    if isinstance(built[0][0], LLGuidance):
        limits = limit_table(built[0][0], small, (500, 1000) if len(vocabularies) == 1 else (500, 1000, 2000))
        parts.append(f'An ambiguous grammar (`s: s s | "a"`) and the limit of parser items:\n\n{limits}')
    for libraries, vocabulary in zip(built, vocabularies, strict=True):
        parts.append(
            f"Vocabulary {vocabulary.width:,}. Processor time; masks: median / 99th percentile. Two times {turns} turns, load average"
            f" {os.getloadavg()[0]:.1f}; torch {torch.__version__}, {os.cpu_count()} cores.\n\n"
            + cost_table(libraries, vocabulary, turns)
        )
        if LLGuidance in kinds:
            parts.append(f"In the engine, vocabulary {vocabulary.width:,}:\n\n{engine_table(vocabulary, turns)}")
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "tokenizer", nargs="?", type=Path, help="a byte-level tokenizer.json whose id 0 is the end token"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run: small, and docs/ is left alone")
    options = parser.parse_args()
    vocabularies = [small_vocabulary()]
    if options.tokenizer is not None:
        vocabularies.append(large_vocabulary(options.tokenizer))
    text = report(vocabularies, 3 if options.quick else 100, 1 if options.quick else 5)
    print(text)
    if not options.quick:
        write_between(ROOT / "docs" / "constraints.md", BEGIN, END_MARK, text)


if __name__ == "__main__":
    main()
