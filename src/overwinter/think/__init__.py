"""Think: what the confidence of a run means, and how it is spent: voting, search, recall, consistency."""
