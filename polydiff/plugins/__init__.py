"""Who provides what: plugins found, kept apart, and asked by name."""

VARIABLE = "POLYDIFF_PLUGINS"
"""Environment variable: requests as `-p` takes them, separated by commas."""

NO = "no:"
"""What a request to leave a plugin out begins with."""
