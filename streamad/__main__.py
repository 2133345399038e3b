"""`python -m streamad`."""

from streamad.cli import main

main()
