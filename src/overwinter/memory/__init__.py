"""Memory: an index over the journal. It cites entries, can be deleted and rebuilt, and works without any model call.

Reading order: `unit` (the words), `claim`, `index` (the promises).
"""
