"""`python -m tally.daemon.supervisor`, which is `tallyd`."""

from .main import main

if __name__ == "__main__":
    main()
