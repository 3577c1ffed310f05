"""From curves to decisions, one rule a file (docs/theory.md §7). Arrays and plain dataclasses, no
files.
"""
