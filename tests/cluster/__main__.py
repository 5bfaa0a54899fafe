"""`python -m tests.cluster`."""

from tests.cluster.cli import main

if __name__ == "__main__":
    main()
