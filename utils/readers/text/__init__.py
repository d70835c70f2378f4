"""CSV and JSON lines, plain or compressed."""
