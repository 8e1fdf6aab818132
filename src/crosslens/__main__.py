"""``python -m crosslens``, which is what torchrun starts."""

from crosslens.cli import main

if __name__ == "__main__":
    main()
