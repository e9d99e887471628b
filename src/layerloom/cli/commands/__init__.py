"""One file a command: its function's signature and docstring are its usage. `cli.main` lists them.

Commands import what they need when they run, so that those without learning start without PyTorch.
"""
