"""Credit in other people's trainers, in one line each.

    CreditGRPOTrainer(..., credit=Config(estimator="gigpo"), states=…)      # trl.py
    register(Config(estimator="rloo"))                                       # verl.py; then algorithm.adv_estimator=overwinter

Both keep a trajectory as one sequence of tokens with a mask over what the model wrote. turns.py reads turns off that mask, makes
a `Batch` of them and lays the advantages back on the tokens, each turn's on its own tokens alone. A library is imported when its
module is; nothing else of overwinter needs either.
"""

from overwinter.learn.credit.adapters.turns import Turns, read_turns, state_key

__all__ = ["Turns", "read_turns", "state_key"]
