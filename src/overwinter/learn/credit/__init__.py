"""Credit: which decisions earned the outcome.

Idea: every estimator of long-horizon credit behind one signature, `advantages(batch, config) -> Credit`, on trajectories as
columns. Outcomes compared in a group, returns compared in a state, hindsight ratios, potentials and critics are rows of one
table; they differ in how they guess the probability of success, and in what they compare it with.

Invariants:
- Pure: the same batch, config and memory give the same bits. Nothing here knows a model, a world or a trainer.
- One formula: NumPy and Torch run the same lines; where speed needs a clever path, plain.py has a slow one that agrees.
- A group, a bucket or a trajectory that has nothing to be compared with gets 0, never its raw value.
- `truncated` is not failure: critics bootstrap, graphs take the end as an open one.
- What cannot be computed is refused with the row that spoils it; a NaN never reaches an advantage.

Reading order: table.py (one page: all rows, all constants), groups.py, critic.py, steps.py, potentials.py, graph.py, hindsight.py,
hca.py, shaping.py, arrays.py (what they are written over), filters.py, diagnostics.py; then plain.py, torch_backend.py, adapters/.
docs/credit.md says when each one fails.
"""

from overwinter.learn.credit.parts import Credit
from overwinter.learn.credit.table import ESTIMATORS, Config, advantages, estimator_names

__all__ = ["ESTIMATORS", "Config", "Credit", "advantages", "estimator_names"]
