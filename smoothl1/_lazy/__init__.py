"""What ``smoothl1.dask`` is made of."""
