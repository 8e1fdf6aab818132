"""``crosslens serve`` as a process of its own that knows the tiny backbones; its workers run this file again."""

from testing.reading_backbone import register_talker
from testing.tiny_backbone import register_tiny

register_tiny()
register_talker()

if __name__ == "__main__":
    from crosslens.cli import main

    main()
