"""Parquet, Arrow IPC and Feather."""
