"""`python -m loomidi` is the `loomidi` command."""

from loomidi.conductor.cli import main

main()
