"""`python -m cli`: how `train` starts the roles."""

from cli.main import main

main()
