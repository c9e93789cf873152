"""The loans, with the names that our domain reads its own states by, and their history."""

from django.db import models
from simple_history.models import HistoricalRecords

MONEY = {"max_digits": 15, "decimal_places": 2}


class Unpaid(models.Model):
    """Nobody repays anything here: what our domain asks a loan besides its columns."""

    class Meta:
        """A part of both tables' classes."""

        abstract = True

    repayments = ()
    plans = ()
    written_off_on = None


class Loan(Unpaid):
    """What is owed; ``emis_on_time`` is the workbook's total, null for a loan granted here."""

    number = models.BigIntegerField(primary_key=True)
    customer_number = models.BigIntegerField(db_index=True)
    amount = models.DecimalField(**MONEY)
    annual_rate = models.DecimalField(max_digits=5, decimal_places=2)
    tenure_months = models.PositiveSmallIntegerField()
    installment = models.DecimalField(**MONEY)
    emis_on_time = models.PositiveSmallIntegerField(null=True)
    opened_on = models.DateField()
    ends_on = models.DateField()
    history = HistoricalRecords(
        bases=[Unpaid], history_user_id_field=models.BigIntegerField(null=True)
    )
