"""HDF5: skims, pandas tables, datasets."""
