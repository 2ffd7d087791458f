"""``python -m registry``: the same as ``provreg``."""

from registry.cli.main import main

if __name__ == "__main__":
    main()
