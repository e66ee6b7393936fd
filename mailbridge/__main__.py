"""`python -m mailbridge` is the command `mailbridge`."""

from mailbridge.cli import main

if __name__ == "__main__":
    main()
