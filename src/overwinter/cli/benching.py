"""`bench`: put a suite to a model, score answers, compare two systems. What is asked is a run in the journal."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

from overwinter.cli.benching_answers import (
    Data,
    Report,
    Rescoring,
    compare,
    import_,
    need_figures,
    no_store,
    read_source,
    say_figures,
    score,
    with_suite,
)
from overwinter.cli.calibrating import calibration
from overwinter.cli.flags import Common, RunName, takes_groups
from overwinter.cli.output import Output, Progress, note, one_line
from overwinter.cli.workplace import Workplace, workplace
from overwinter.errors import BudgetExhausted, ModelError, UsageError

if TYPE_CHECKING:
    from overwinter.bench.plan import Plan
    from overwinter.bench.playing import PlayedRun
    from overwinter.bench.running import AskedRun
    from overwinter.cli.benching_models import LoopAsker, LoopPlayer

_MODEL = "a model folder, ORG/NAME, http://HOST:PORT/v1#MODEL, bundled or policy:NAME (worlds)"


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Which questions, and how they are put."""

    data: Data = None
    count: Annotated[
        int | None, typer.Option("--count", metavar="NUMBER", min=1, help="So many of the questions, drawn by --seed.")
    ] = None
    samples: Annotated[int, typer.Option("--samples", metavar="NUMBER", min=1, help="Answers to each question.")] = 1
    style: Annotated[
        str | None,
        typer.Option(
            "--style", metavar="NAME", help="reason, the default: think, then answer. direct: the answer alone."
        ),
    ] = None
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
    judge: Annotated[
        str | None, typer.Option("--judge", metavar="SPEC", help="Who decides where exact words do not; another model.")
    ] = None
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


def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite or a family; `bench suites` lists them.")],
    *,
    questions: Questions,
    asking: Asking,
    report: Report,
    common: Common,
) -> None:
    """Put a suite to a model, or score recorded answers with it. `run` may be left out."""
    need_figures()
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
        with _actor(at, plan, asking.top_logprobs) as actor, _judge(plan) as judge:
            create(at.store, name, plan, caps)
            code = _work(at, _ledger(at, name, plan, actor, judge), report, lambda ledger: ledger.begin(caps))
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
    need_figures()
    from overwinter.amounts import parse_budget
    from overwinter.bench.ledger import ENDED
    from overwinter.bench.plan import plan_of

    with workplace(common) as at:
        info = at.resolve(run)
        plan = plan_of(at.store, info.run, parallel=parallel, data=data)
        if info.status in ENDED:
            _conclude(at, info.run, report)
            return
        with _actor(at, plan, 0) as actor, _judge(plan) as judge:
            add = parse_budget(add_budget) if add_budget else {}
            code = _work(at, _ledger(at, info.run, plan, actor, judge), report, lambda ledger: ledger.go_on(add))
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
        style=questions.style or ("direct" if questions.constrain else "reason"),
        constrain=questions.constrain,
        temperature=questions.temperature if questions.temperature is not None else (0.7 if warm else 0.0),
        max_tokens=questions.max_tokens or suite.max_tokens,
        seed=questions.seed,
        parallel=asking.parallel,
    )
    model = model_spec(at.settings.model, at.settings)
    judge = model_spec(asking.judge, at.settings, judge=True) if asking.judge else None
    return make_plan(name, config, data=questions.data, count=questions.count, model=model, judge=judge)


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


@contextmanager
def _judge(plan: Plan) -> Iterator[LoopAsker | None]:
    """Who decides where words do not; None where the plan names nobody."""
    from overwinter.cli.benching_models import LoopAsker
    from overwinter.loop.setup import build_model

    if plan.judge is None:
        yield None
        return
    if plan.config.parallel > 1 and plan.judge["kind"] != "endpoint":
        raise UsageError("a judge in this process answers one question at a time", "leave out --parallel")
    model = build_model(plan.judge, None)
    try:
        yield LoopAsker(model)
    finally:
        model.close()


def _ledger(
    at: Workplace, name: str, plan: Plan, actor: LoopAsker | LoopPlayer, judge: LoopAsker | None
) -> AskedRun | PlayedRun:
    from overwinter.bench.playing import PlayedRun
    from overwinter.bench.running import AskedRun
    from overwinter.cli.benching_models import LoopPlayer

    if isinstance(actor, LoopPlayer):
        return PlayedRun(at.store, name, plan, actor)
    return AskedRun(at.store, name, plan, actor, judge)


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

    say_figures(at, [with_suite(recording(at.store, run, texts=report.save is not None))], report)


def replay(
    run: RunName,
    *,
    ask: Annotated[
        bool, typer.Option("--ask", help="Put each question to the model again, and compare the answers.")
    ] = False,
    data: Data = None,
    common: Common,
) -> None:
    """Go through a benchmark again: do its questions and verdicts still follow from its journal?"""
    from overwinter.bench.plan import plan_of
    from overwinter.bench.replaying import Replay

    with workplace(common, read_only=True) as at:
        name = at.resolve(run).run
        plan = plan_of(at.store, name, data=data)
        with _actor(at, plan, 0) if ask and not plan.suite.world else nullcontext() as asker:
            replaying, progress, found = (
                Replay(at.store, name, plan, cast("LoopAsker | None", asker)),
                Progress(f"replay of {name}"),
                0,
            )
            for each in replaying.differences(progress):
                found += 1
                at.out.record({"run": name, **asdict(each)})
                at.out.line(f"#{each.entry} {each.item} sample {each.sample}: another {each.what}", "red")
                at.out.line(f"  then {one_line(each.then)}\n  now  {one_line(each.now)}")
            progress.done()
        at.out.record({"run": name, "compared": replaying.checked, "differences": found})
        at.out.line(
            f"{replaying.checked} questions, answers and verdicts compared: {found or 'none'} {'differ' if found != 1 else 'differs'}"
        )
    if found:
        raise typer.Exit(1)


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


def _score_file(suite: str, questions: Questions, asking: Asking, report: Report, common: Common) -> None:
    assert asking.answers is not None
    rescoring = Rescoring(suite=suite, data=questions.data, anew=asking.anew)
    with no_store(common) as at:
        say_figures(at, [read_source(at, str(asking.answers), rescoring)], report)


# The group


class _RunByDefault(TyperGroup):
    """`bench SUITE` is `bench run SUITE`: a first word that is no command is a suite."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


COMMANDS: tuple[Callable[..., None], ...] = (run, resume, replay, score, compare, calibration, suites, import_)
bench_app = typer.Typer(
    cls=_RunByDefault,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Benchmarks: suites put to a model, answers scored, systems compared. `bench SUITE` is `bench run SUITE`.",
)
for _command in COMMANDS:
    bench_app.command(_command.__name__)(takes_groups(_command))
