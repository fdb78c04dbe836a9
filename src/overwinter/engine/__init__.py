"""The engine: what stands between a model's logits and the tokens of a run.

Constraints
    `constraint`  the protocol by which the engine asks what may follow, and the trie behind it
    `trie`        which token may come next, for many rows at once: masks, beams, drafts, hot swap
    `trie_build`  sequences → the trie's arrays, level by level; and the file they are kept in
    `trie_dict`   the slow clear twin that the tests and the benchmark hold it against

Invariants
    A snapshot never changes; a change is a new snapshot, and rows in flight finish on the one they began with.
    A row always has at least one finite logit left, so a softmax over it is never NaN.
    Rows do not see each other: a row gets the same mask alone and in any batch.

The package imports nothing by itself, so that looking at one module does not load torch. Guide: docs/constraints.md
"""
