"""`python -m loomidi_lab`: the same as the command `loomidi-lab`."""

from loomidi_lab.cli import main

if __name__ == "__main__":
    main()
