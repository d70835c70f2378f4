"""Where the work is done: in this process, in several, or in a Dask cluster. No result depends on it."""
