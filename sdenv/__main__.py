"""`python -m sdenv` is `sdenv`."""

from sdenv.cli import main

if __name__ == "__main__":
    main()
