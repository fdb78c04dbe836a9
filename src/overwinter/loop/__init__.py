"""The loop: a goal, a budget and tools go in; a verified result comes out, or a question, or a clean stop.

    goal ─► view ─► model ─► gate ─► effect ─► journal ─► state ─► (again)

Invariants (docs/design.md §4, each with a test)
    The state is a fold over the journal; `next_action(state)` decides; so going on and resuming are the same thing.
    An intent is on disk before anything leaves the process, a receipt before the model sees the result.
    Finished work is never done again; what is in doubt is redone, probed or asked about, by its effect class.
    Budgets are reserved before and settled after.  Waiting holds no process.  Done is a verdict on evidence.

Reading order: `run` (the door), `step` (the loop), `state` (the fold), `effects` (intent, call, receipt), `sampling`, `view`,
`verdict`, `gates`, `stall`, `controls`, `deeds`, `session`, `setup`, `world`, `fork`, `replay`, `why`, `model` and `models/`.
"""
