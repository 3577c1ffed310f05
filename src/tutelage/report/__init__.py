"""A plan for people: one self-contained HTML page, a short table, or sentences."""

from tutelage.report.compare import comparison_summary
from tutelage.report.costs import cost_summary, offers_of
from tutelage.report.explain import explain
from tutelage.report.page import render, render_comparison
from tutelage.report.terminal import summary, verification_summary

__all__ = [
    "comparison_summary",
    "cost_summary",
    "explain",
    "offers_of",
    "render",
    "render_comparison",
    "summary",
    "verification_summary",
]
