"""Crossfold: from particle-physics ntuples to datacard-ready scores."""

__version__ = "0.1.0"
