"""Learning: from what a run did to better weights, and from raw text to weights that can run.

Idea: a journal holds every decision with its token ids, its log-probabilities and its outcome. `credit` says which decisions earned the
outcome, `reinforce` changes the weights by it, `train` is the trainer below both, and `stability` stands guard while they work.

Invariants:
- Credit is a pure function of a `Batch`; it never sees a model, a world or a journal.
- Nothing is tokenised again: what is trained on are the ids that were sampled.
- `terminated` and `truncated` are kept apart everywhere: an episode that was cut short has no outcome.
- On a CPU, a training that is killed and resumed has the bits of one that was not.

Reading order: batch.py, credit/, stability/, train/, reinforce/.

Everything here needs `overwinter[local]`.
"""
