"""The two errors a user can cause. Both say what is wrong, where, and what to do about it."""


class ConfigError(Exception):
    """A choice that cannot work: `<dotted key>: <what is wrong>; <what would be right>`."""


class DataError(Exception):
    """A file or folder that cannot be used: it names the path, the key in it, and the remedy."""
