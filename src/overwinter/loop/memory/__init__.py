"""Memory in the loop: the tools of working memory, what a view shows of it, and recall from the namespace's index.

Everything the model is shown comes from this run's journal: what the index brought is written down as a `recalled` entry (or a
tool's receipt) before it is shown, so a view renders the same on resume, in a fork and in a replay, whatever became of the index since.

Reading order: `settings`, `tools` (as the model is told of them), `deeds` (what they do), `view` (core, pinned handles, the status
line), `recaller` (the protocol and the real one), `recall` (before a step). The pure parts are `overwinter.memory.working`.
"""
