"""Django's settings; ``PEER_DATABASE_URL`` names the database."""

import os
from typing import Final

from psycopg.conninfo import conninfo_to_dict

_DATABASE: Final = conninfo_to_dict(os.environ["PEER_DATABASE_URL"])

SECRET_KEY: Final = "signs nothing"  # noqa: S105
DEBUG: Final = False
ALLOWED_HOSTS: Final = ["127.0.0.1"]
INSTALLED_APPS: Final = ["benchmarks.peers"]
MIDDLEWARE: Final[list[str]] = []
ROOT_URLCONF: Final = "benchmarks.peers.urls"
DEFAULT_AUTO_FIELD: Final = "django.db.models.BigAutoField"
DATABASES: Final = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _DATABASE["dbname"],
        "USER": _DATABASE["user"],
        "HOST": _DATABASE["host"],
        "CONN_MAX_AGE": None,
    }
}
REST_FRAMEWORK: Final = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": False,
}
