"""Turns folders of training logs into a leaderboard that says how sure it is."""
