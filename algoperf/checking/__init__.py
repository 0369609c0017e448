"""Checks a submission against the rules: its sources as they are written, and a few steps in a guarded process."""
