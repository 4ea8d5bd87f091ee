"""Where the `gradflock` command begins; `python -m cli` is how `train` starts the roles."""

import sys

try:
    from cli.main import main
except KeyboardInterrupt:  # Ctrl-C while Python was still reading the program
    sys.exit(130)

if __name__ == "__main__":
    main()
