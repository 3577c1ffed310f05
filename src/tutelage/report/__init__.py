"""A plan for people: one self-contained HTML page, and a short table for the terminal."""

from tutelage.report.page import render
from tutelage.report.terminal import summary, verification_summary

__all__ = ["render", "summary", "verification_summary"]
