"""overwinter: persistent, long-horizon reasoning agents on open-weight models, where everything a run did is one journal."""

__version__ = "0.1.0"
