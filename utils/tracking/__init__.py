"""Runs: what a training writes down, and how everything after it is found again. The only user of mlflow."""
