"""`python -m trilho.cli` is `trilho`."""

from trilho.cli.root import main

if __name__ == "__main__":
    main()
