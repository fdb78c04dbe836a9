"""Search over forks of a run: `think/search` says where to go on, this makes the branches, and commits one.

Reading order: decision.py (a decision from search.began to the commit), branch.py (a fork, cheaply), growing.py (one node), critics.py.
"""
