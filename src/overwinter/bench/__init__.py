"""Bench: suites put to a model as runs in the journal, answers scored with intervals, systems compared. Figures need numpy
(`pip install overwinter[bench]`); asking, resuming and reading a run do not.

    plan = make_plan("arithmetic", Config(samples=4, temperature=0.7), data=None, count=50, model=spec)
    create(store, "b1", plan, {})
    with AskedRun(store, "b1", plan, asker).begin({}) as run:
        for item, sample, result in run.work(): ...
    figures = summarise(recording(store, "b1"))

Idea: whatever is measured becomes recorded answers, one for each sample of each question (`answers`), and everything said of a model is
computed from those alone. So published outputs, logs of other harnesses and our own runs are scored by the same code.

Invariants
    The unit is the question: samples are averaged before anything is, and drawn together.
    No figure without its interval. A missing confidence is counted, not filled in.
    What could not be read counts as wrong and is listed as such; nothing is guessed.
    An answered question is never asked again; a dialogue is a function of what it heard. Other data is another benchmark.
    Models are asked through a small protocol (`asking`): this package knows neither the loop nor the engine.

Reading order: `suite` (what a suite is), `suites/` (those there are), `reading` (answers out of text), `plan`, `ledger`, `running`
and `playing` (the journal), `replaying`, `recorded`, `rollouts` (what a run becomes), `answers`, `rescoring`, `imports/` (from
elsewhere), `statistics`, `curves`, `report` (the figures), `calibration` (confidence of runs of the loop).
"""
