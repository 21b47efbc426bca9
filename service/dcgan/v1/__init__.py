"""Generated stubs of the API; `proto/generate.py` makes them, never edit them."""
