"""From ntuples to skims: selection, new variables, split, the input pipe, and the cutflow."""
