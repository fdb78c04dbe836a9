"""`bench`: put a suite to a model, score answers, compare two systems. What is asked is a run in the journal."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from overwinter.cli.calibrating import calibration
from overwinter.cli.flags import Common, RunName, takes_groups
from overwinter.cli.output import Output, Progress, note
from overwinter.cli.workplace import Workplace, workplace
from overwinter.errors import BudgetExhausted, ModelError, UsageError

if TYPE_CHECKING:
    from overwinter.bench.answers import Recording
    from overwinter.bench.plan import Plan
    from overwinter.bench.playing import PlayedRun
    from overwinter.bench.running import AskedRun
    from overwinter.bench.suite import Suite
    from overwinter.cli.benching_models import LoopAsker, LoopPlayer

_MODEL = "a model folder, ORG/NAME, http://HOST:PORT/v1#MODEL, bundled or policy:NAME (worlds)"
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The folder that holds the suites' data; searched below, too."),
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also a report as one page.")]
Draws = Annotated[int, typer.Option("--draws", metavar="NUMBER", min=20, help="Bootstrap draws of each interval.")]


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Which questions, and how they are put."""

    data: Data = None
    count: Annotated[
        int | None, typer.Option("--count", metavar="NUMBER", min=1, help="So many of the questions, drawn by --seed.")
    ] = None
    samples: Annotated[int, typer.Option("--samples", metavar="NUMBER", min=1, help="Answers to each question.")] = 1
    style: Annotated[
        str, typer.Option("--style", metavar="NAME", help="direct: the answer alone. reason: think, then answer.")
    ] = "reason"
    constrain: Annotated[
        bool, typer.Option("--constrain", help="Multiple choice: only a letter can be said; its probability is kept.")
    ] = False
    temperature: Annotated[
        float | None, typer.Option("--temperature", metavar="NUMBER", help="Default: 0, of several samples 0.7.")
    ] = None
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="NUMBER", min=1, help="Longest answer; default: the suite's.")
    ] = None
    seed: Annotated[
        int, typer.Option("--seed", metavar="NUMBER", help="Of the draw, the sampling, made questions.")
    ] = 0


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Who answers."""

    model: Annotated[str | None, typer.Option("--model", metavar="SPEC", help=f"Who is asked: {_MODEL}.")] = None
    answers: Annotated[
        Path | None,
        typer.Option("--answers", metavar="FILE", help="Nobody is asked: score the recorded answers of this file."),
    ] = None
    anew: Annotated[bool, typer.Option("--anew", help="With --answers: score again what is scored already.")] = False
    parallel: Annotated[
        int, typer.Option("--parallel", metavar="NUMBER", min=1, help="Questions under way at once, of an endpoint.")
    ] = 1
    top_logprobs: Annotated[
        int, typer.Option("--top-logprobs", metavar="NUMBER", min=0, max=20, help="Alternatives to keep of each token.")
    ] = 0
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="AMOUNTS", help="For example tokens=200k,usd=2.50,wall=2h.")
    ] = None
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The run's name; made up if not given.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What becomes of the figures."""

    html: Html = None
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Also the answers, as a file (.jsonl or .jsonl.gz).")
    ] = None
    draws: Draws = 1000


@dataclass(frozen=True, kw_only=True)
class Rescoring:
    """Scoring what is not scored yet."""

    suite: Annotated[
        str | None, typer.Option("--suite", metavar="NAME", help="The suite that scores; default: the one it names.")
    ] = None
    data: Data = None
    anew: Annotated[bool, typer.Option("--anew", help="Score again what is scored already.")] = False


def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite or a family; `bench suites` lists them.")],
    *,
    questions: Questions,
    asking: Asking,
    report: Report,
    common: Common,
) -> None:
    """Put a suite to a model, or score recorded answers with it. `run` may be left out."""
    if asking.answers is not None:
        if asking.model is not None:
            raise UsageError("--model and --answers both say who answered", "give one of them")
        _score_file(suite, questions, asking, report, common)
        return
    from overwinter.amounts import parse_budget
    from overwinter.bench.ledger import create

    with workplace(common, flags={"model": asking.model, "budget": asking.budget}) as at:
        plan = _plan(at, suite, questions, asking)
        name, caps = asking.name or f"bench-{suite}-{secrets.token_hex(4)}", parse_budget(at.settings.budget)
        with _actor(at, plan, asking.top_logprobs) as actor:
            create(at.store, name, plan, caps)
            code = _work(at, _ledger(at, name, plan, actor), report, lambda ledger: ledger.begin(caps))
    if code:
        raise typer.Exit(code)


def resume(
    run: RunName,
    *,
    data: Data = None,
    parallel: Annotated[int, typer.Option("--parallel", metavar="NUMBER", min=1, help="Questions at once.")] = 1,
    add_budget: Annotated[
        str | None, typer.Option("--add-budget", metavar="AMOUNTS", help="Raise its budget first: tokens=100k …")
    ] = None,
    report: Report,
    common: Common,
) -> None:
    """Go on with a benchmark that was stopped or killed; what is answered is not asked again."""
    from overwinter.amounts import parse_budget
    from overwinter.bench.ledger import ENDED
    from overwinter.bench.plan import plan_of

    with workplace(common) as at:
        info = at.resolve(run)
        plan = plan_of(at.store, info.run, parallel=parallel, data=data)
        if info.status in ENDED:
            _conclude(at, info.run, report)
            return
        with _actor(at, plan, 0) as actor:
            add = parse_budget(add_budget) if add_budget else {}
            code = _work(at, _ledger(at, info.run, plan, actor), report, lambda ledger: ledger.go_on(add))
    if code:
        raise typer.Exit(code)


def _plan(at: Workplace, name: str, questions: Questions, asking: Asking) -> Plan:
    from overwinter.bench.plan import Config, make_plan
    from overwinter.bench.suite import find
    from overwinter.cli.setup import model_spec

    suite = find(name)
    if not at.settings.model:
        raise UsageError("no model is named", f"give --model: {_MODEL}; or --answers FILE with recorded ones")
    warm = questions.samples > 1
    config = Config(
        samples=questions.samples,
        style=questions.style,
        constrain=questions.constrain,
        temperature=questions.temperature if questions.temperature is not None else (0.7 if warm else 0.0),
        max_tokens=questions.max_tokens or suite.max_tokens,
        seed=questions.seed,
        parallel=asking.parallel,
    )
    model = model_spec(at.settings.model, at.settings)
    return make_plan(name, config, data=questions.data, count=questions.count, model=model)


@contextmanager
def _actor(at: Workplace, plan: Plan, top_logprobs: int) -> Iterator[LoopAsker | LoopPlayer]:
    """Who answers or plays."""
    from overwinter.cli.benching_models import LoopAsker, LoopPlayer
    from overwinter.loop.setup import build_model

    spec = plan.model
    if plan.suite.world:
        yield LoopPlayer(at.store, spec, str(spec.get("policy") or spec.get("path") or spec.get("model")))
        return
    if plan.config.parallel > 1 and spec["kind"] != "endpoint":
        raise UsageError("a model in this process answers one question at a time", "leave out --parallel")
    model = build_model(spec, None)
    try:
        yield LoopAsker(model, top_logprobs=top_logprobs)
    finally:
        model.close()


def _ledger(at: Workplace, name: str, plan: Plan, actor: LoopAsker | LoopPlayer) -> AskedRun | PlayedRun:
    from overwinter.bench.playing import PlayedRun
    from overwinter.bench.running import AskedRun
    from overwinter.cli.benching_models import LoopPlayer

    if isinstance(actor, LoopPlayer):
        return PlayedRun(at.store, name, plan, actor)
    return AskedRun(at.store, name, plan, actor)


def _work(
    at: Workplace,
    ledger: AskedRun | PlayedRun,
    report: Report,
    enter: Callable[[AskedRun | PlayedRun], object],
) -> int:
    """Ask what is open, say what came of it; the exit code."""
    progress = Progress(f"bench {ledger.suite.name}")
    with ledger:
        enter(ledger)
        at.out.line(f"run {ledger.run}: {ledger.plan.title}", "bold")
        if ledger.done:
            at.out.line(f"{len(ledger.done)} of {ledger.total} are answered already", "dim")
        try:
            for item, sample, result in ledger.work(progress):
                record = {"run": ledger.run, "item": item.id, "sample": sample, **asdict(result)}
                at.out.record({name: value for name, value in record.items() if value is not None})
        except KeyboardInterrupt:
            note(f"stopped; go on with `{at.command('bench', 'resume', ledger.run)}`")
            return 130
        except BudgetExhausted as error:
            raise BudgetExhausted(
                error.problem, at.command("bench", "resume", ledger.run, "--add-budget", "…")
            ) from error
        except ModelError as error:
            note(f"go on later with `{at.command('bench', 'resume', ledger.run)}`")
            raise error from None
        finally:
            progress.done()
    _conclude(at, ledger.run, report)
    return 0


def _conclude(at: Workplace, run: str, report: Report) -> None:
    from overwinter.bench.recorded import recording

    _say(at, [_with_suite(recording(at.store, run, texts=report.save is not None))], report)


def _say(at: Workplace, read: Sequence[tuple[Recording, Suite | None]], report: Report) -> None:
    """Figures to the terminal, and to the files that were asked for."""
    from overwinter.bench.answers import write_answers
    from overwinter.bench.report import summarise
    from overwinter.cli.benching_words import say

    made = []
    for found, suite in read:
        progress = Progress(f"intervals of {found.name}")
        summary = summarise(found, draws=report.draws, progress=progress)
        progress.done()
        made.append(summary)
        figures = suite.figures if suite is not None else None
        summary["extra"] = {} if figures is None else dict(figures(found.answers))
        summary["caution"] = suite.caution if suite is not None else ""
    if report.save is not None:
        write_answers(report.save, read[0][0].header, read[0][0].answers)
    if report.html is not None:
        from overwinter.cli.page.bench import write_bench_page

        write_bench_page(report.html, made)
    for summary in made:
        at.out.record(summary)
        say(at.out, summary)
    for written in filter(None, (report.save, report.html)):
        at.out.line(f"written: {written}", "dim")


def _with_suite(found: Recording, name: str = "") -> tuple[Recording, Suite | None]:
    """A recording and the suite that it names, where there is such a suite."""
    from overwinter.bench.suite import find

    try:
        return found, find(name or found.header.suite)
    except UsageError:
        return found, None


# Recorded answers


def score(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Files of recorded answers, or runs of `bench`.")
    ],
    *,
    rescoring: Rescoring,
    report: Report,
    common: Common,
) -> None:
    """Figures of recorded answers: score, calibration, cost, slices, with intervals."""
    with workplace(common, read_only=True) if _any_run(sources) else _no_store(common) as at:
        _say(at, [_read(at, source, rescoring) for source in sources], report)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A file of recorded answers, or a run of `bench`.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another, with answers to the same questions.")],
    *,
    by: Annotated[
        str, typer.Option("--by", metavar="WHAT", help="score, or brier:SIGNAL (the error of a confidence).")
    ] = "score",
    effect: Annotated[
        float, typer.Option("--effect", metavar="NUMBER", help="The smallest difference that would matter.")
    ] = 0.03,
    rescoring: Rescoring,
    html: Html = None,
    common: Common,
) -> None:
    """Compare two systems question by question: difference, interval, p, and how many questions it would take."""
    from overwinter.bench.report import compared, summarise
    from overwinter.cli.benching_words import say_comparison

    with workplace(common, read_only=True) if _any_run([first, second]) else _no_store(common) as at:
        a, b = (_read(at, source, rescoring)[0] for source in (first, second))
        found = compared(a, b, by=by, effect=effect)
        at.out.record(found)
        say_comparison(at.out, found)
        if html is not None:
            from overwinter.cli.page.bench import write_bench_page

            write_bench_page(html, [summarise(each, draws=200) for each in (a, b)], [found])
            at.out.line(f"report written to {html}", "dim")


def suites(*, common: Common) -> None:
    """List the suites, what they need and who may answer them."""
    from overwinter.bench.suite import families

    out = Output(as_json=common.json)
    rows = []
    for family, members in sorted(families().items()):
        for suite in sorted(members, key=lambda each: each.name):
            record = {
                "suite": suite.name,
                "family": family,
                "about": suite.about,
                "needs": suite.needs,
                "version": suite.version,
            }
            out.record(record)
            rows.append([suite.name, family, suite.needs or "nothing", suite.about])
    out.table(["SUITE", "FAMILY", "NEEDS", "ABOUT"], rows)


def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="The log of another harness, or published outputs.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Recorded answers (.jsonl or .jsonl.gz).")],
    *,
    form: Annotated[
        str | None, typer.Option("--form", metavar="NAME", help="Its form; default: seen from the file.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="PART", help="Of files with several systems: which one.")
    ] = None,
    common: Common,
) -> None:
    """Turn logs of lm-eval or Inspect, or published outputs, into recorded answers."""
    from overwinter.bench.answers import write_answers
    from overwinter.bench.imports import read_log

    found = read_log(source, form=form, only=only)
    write_answers(target, found.header, found.answers)
    out = Output(as_json=common.json)
    out.record(
        {"answers": len(found.answers), "suite": found.header.suite, "model": found.header.model, "to": str(target)}
    )
    out.line(f"{len(found.answers)} answers of {found.header.model or 'an unnamed model'} written to {target}")


import_.__name__ = "import"  # a word of Python, but the right one for the command


def _score_file(suite: str, questions: Questions, asking: Asking, report: Report, common: Common) -> None:
    assert asking.answers is not None
    rescoring = Rescoring(suite=suite, data=questions.data, anew=asking.anew)
    with _no_store(common) as at:
        _say(at, [_read(at, str(asking.answers), rescoring)], report)


def _any_run(sources: Sequence[str]) -> bool:
    return any(not _is_file(source) for source in sources)


def _is_file(source: str) -> bool:
    """A run's name never looks like a file of answers."""
    return Path(source).exists() or source.endswith((".jsonl", ".jsonl.gz"))


@contextmanager
def _no_store(common: Common) -> Iterator[Workplace]:
    """A workplace for what reads files only: scoring a file must not make a journal."""
    from overwinter.cli.workplace import load_settings
    from overwinter.journal import open_store

    effective, store = load_settings(common), open_store(":memory:")
    try:
        yield Workplace(common=common, effective=effective, store=store, out=Output(as_json=common.json))
    finally:
        store.close()


def _read(at: Workplace, source: str, rescoring: Rescoring) -> tuple[Recording, Suite | None]:
    """A file of answers or a run, scored where its suite can."""
    from overwinter.bench.answers import read_answers
    from overwinter.bench.recorded import recording
    from overwinter.bench.rescoring import rescored
    from overwinter.bench.suite import find

    found = read_answers(Path(source)) if _is_file(source) else recording(at.store, at.resolve(source).run)
    named = rescoring.suite or found.header.suite
    found, suite = _with_suite(found, named)
    if rescoring.suite and suite is None:
        find(rescoring.suite)
    if suite is not None and (rescoring.anew or any(answer.correct is None for answer in found.answers)):
        found = rescored(found, suite, rescoring.data, anew=rescoring.anew)
    return found, suite


# The group


class _RunByDefault(TyperGroup):
    """`bench SUITE` is `bench run SUITE`: a first word that is no command is a suite."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


COMMANDS: tuple[Callable[..., None], ...] = (run, resume, score, compare, calibration, suites, import_)
bench_app = typer.Typer(
    cls=_RunByDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Benchmarks: suites put to a model, answers scored, systems compared.",
)
for _command in COMMANDS:
    bench_app.command(_command.__name__)(takes_groups(_command))
