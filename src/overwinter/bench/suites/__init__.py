"""The suites of this package. Each module registers its own when it is imported; `overwinter.bench.suite.suites` imports them all."""
