"""From a run ID to scores: friend trees beside the ntuples, or tables of the skims."""
