"""Where workers are: in processes of this machine, in jobs of a batch system, on a cluster."""
