"""`python -m overwinter` is `overwinter`."""

from overwinter.cli.main import main

main()
