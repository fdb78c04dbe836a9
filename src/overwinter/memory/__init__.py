"""Memory: an index over the journal. It cites entries, can be deleted and rebuilt, and works without any model call.

Invariants
    What is derived follows from the journal alone: a rebuild gives the same units, claims and digests with the same ids.
    One namespace per index; a run's is read from its first entry. Nothing reaches across.
    A batch of units and the watermark up to which they are derived are stored together or not at all.
    What memory brought up is marked and never learnt from again.

Reading order: `unit` (the words), `claim`, `index` (the promises), `said` and `derive` (from entries to units), `sync`, `memory` (the
facade); then `sql` (the logic), `sqlite` and `postgres` (two dialects), `plain` (their slow twin); `retrieve`, `claims`, `working`.
"""
