"""The command line: thin. Parse, call, print.

Idea: a command is a function of a few dataclasses of options (`flags`); it loads the configuration (`overwinter.config`), opens
the store (`workplace`), calls `overwinter.loop` or `overwinter.journal`, and prints through `output`.

Invariants:
- Nothing heavy is imported until a command runs, so `overwinter --help` is quick.
- Whatever came from a model or a tool is shown with its control characters made visible.
- `--json` prints one object per line and nothing else on standard output; names are those of the journal.
- An expected error is two lines on standard error, what and what next; never a traceback.

Reading order: main.py, flags.py, workplace.py, output.py, then the commands: working.py (run, resume), answers.py (approve,
deny, send, stop), looking.py (ls, log, why), watching.py, branching.py (fork, replay), upkeep.py (doctor, gc). `page` makes
the HTML page of `log --html`.
"""
