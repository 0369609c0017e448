"""Downloads of raw datasets: resumable, checked, one file at a time."""
