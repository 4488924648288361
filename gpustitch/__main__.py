"""``python -m gpustitch`` is the command ``gpustitch``."""

from gpustitch.cli.start import main

if __name__ == "__main__":
    main()
