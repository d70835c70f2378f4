"""Figures: one description (`description`), drawn by two thin backends (`html`, `pdf`), shown together by `dashboard`.

Figures are built from result dataclasses by `curves`, `scores`, `matrices` and `training`; nothing here computes a
metric, reads a file or knows about tracking. Only `html` imports plotly, only `pdf` matplotlib and mplhep.
"""
