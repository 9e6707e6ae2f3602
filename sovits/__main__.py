"""`python -m sovits` and `torchrun -m sovits`: the same as `svc`."""

from sovits.cli import entry

if __name__ == "__main__":
    entry()
