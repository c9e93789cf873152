"""Django's settings for the loans with a history, beside those of the other peer."""

from typing import Final

from benchmarks.peers.settings import DATABASES, DEBUG, DEFAULT_AUTO_FIELD, SECRET_KEY

INSTALLED_APPS: Final = ["simple_history", "benchmarks.peers.historic"]
USE_TZ: Final = True

__all__ = ["DATABASES", "DEBUG", "DEFAULT_AUTO_FIELD", "INSTALLED_APPS", "SECRET_KEY", "USE_TZ"]
