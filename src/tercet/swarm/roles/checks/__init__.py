"""Programs that run in the sandbox: they compute, draw and check. They need Python alone, and import nothing of ours.

`python3 /checks/NAME.py` is what a plan's done-test calls them. They derive anew what they check, from the files.
"""
