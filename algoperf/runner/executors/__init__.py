"""Where the trials of a suite run: on this machine, in jobs of SLURM, or by a script that is printed."""
