"""The command `algoperf`: one command line over the rooms of the project. `verbs.py` lists what it can do."""
