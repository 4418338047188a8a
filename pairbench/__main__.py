"""``python -m pairbench``: the command line, where its script is not on the path."""

from pairbench.cli.app import main

if __name__ == "__main__":
    main()
