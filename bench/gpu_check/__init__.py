"""One command for a bare machine with a GPU: ``python -m bench gpu-check --part 1|2``.

Each step runs in a process of its own, within a time of its own, so that one that crashes, hangs or lacks something
takes nothing from the others. ``start`` and ``runner`` import nothing beyond Python itself.
"""
