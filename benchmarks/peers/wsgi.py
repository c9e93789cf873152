"""What gunicorn serves."""

from typing import Final

from django.core.wsgi import get_wsgi_application

application: Final = get_wsgi_application()
