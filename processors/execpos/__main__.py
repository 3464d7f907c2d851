"""`python -m execpos`, the same as the command `execpos`."""

from execpos.cli.main import main

main()
