"""Read table ``applications``: one row per application referred to review, for the reviewers."""

from typing import Final

from credit_es.domain.events import ApplicationEvent
from credit_es.domain.review import DEFINITION, Application, evolve
from projections.projection import Projection

APPLICATIONS: Final = Projection(
    name="applications",
    definition=DEFINITION,
    row=Application,
    events=ApplicationEvent,
    fold=evolve,
    key="application_id",
    indexes=(("approved", "decide_by", "application_id"), ("decide_by", "application_id")),
)
