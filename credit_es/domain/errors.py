"""What a command is refused for. Each carries its values; ``api/problems.py`` words them."""


class DomainError(Exception):
    """A command that the recorded facts do not allow."""


class UnknownCustomerError(DomainError):
    """No customer has this number."""

    def __init__(self, customer_number: int) -> None:
        super().__init__(f"no customer has the number {customer_number}")
        self.customer_number = customer_number


class UnknownLoanError(DomainError):
    """No loan has this number."""

    def __init__(self, loan_number: int) -> None:
        super().__init__(f"no loan has the number {loan_number}")
        self.loan_number = loan_number


class UnknownDecisionError(DomainError):
    """No decision has this id."""

    def __init__(self, decision_id: str) -> None:
        super().__init__(f"no decision has the id {decision_id}")
        self.decision_id = decision_id


class UnknownIngestionError(DomainError):
    """No ingestion has this id."""

    def __init__(self, ingestion_id: str) -> None:
        super().__init__(f"no ingestion has the id {ingestion_id}")
        self.ingestion_id = ingestion_id


class UnknownRepaymentError(DomainError):
    """The loan has no such repayment."""

    def __init__(self, loan_number: int, repayment_id: str) -> None:
        super().__init__(f"no repayment of loan {loan_number} has the id {repayment_id}")
        self.loan_number = loan_number
        self.repayment_id = repayment_id


class UnknownApplicationError(DomainError):
    """No application with this id was referred to review."""

    def __init__(self, application_id: str) -> None:
        super().__init__(f"no application with the id {application_id} was referred to review")
        self.application_id = application_id


class FourEyesError(DomainError):
    """Whoever asked for a loan may not decide on it."""

    def __init__(self, application_id: str, actor: str) -> None:
        super().__init__(
            f"application {application_id} was asked for by {actor}, and somebody else has to"
            " decide on it: X-Actor says who does"
        )
        self.application_id = application_id
        self.actor = actor


class ForbiddenError(DomainError):
    """What is recorded does not allow the command; the message says what would be right."""


class NotAllowedError(DomainError):
    """A value of the command contradicts what is recorded: ``field`` is the one to be changed."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
