"""Two tables, with the names that our domain reads its own states by."""

from django.db import models

MONEY = {"max_digits": 15, "decimal_places": 2}


class Customer(models.Model):
    """Who borrows."""

    first_name = models.CharField(max_length=100)
    last_name = models.CharField(max_length=100)
    age = models.PositiveSmallIntegerField(null=True)
    phone_number = models.BigIntegerField(null=True, db_index=True)
    monthly_income = models.DecimalField(**MONEY)
    approved_limit = models.DecimalField(**MONEY)


class Loan(models.Model):
    """What is owed; ``emis_on_time`` is the workbook's total, null for a loan granted here."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="loans")
    source_loan_id = models.CharField(max_length=100, null=True)
    amount = models.DecimalField(**MONEY)
    annual_rate = models.DecimalField(max_digits=5, decimal_places=2)
    tenure_months = models.PositiveSmallIntegerField()
    installment = models.DecimalField(**MONEY)
    emis_on_time = models.PositiveSmallIntegerField(null=True)
    opened_on = models.DateField()
    ends_on = models.DateField()

    # Nobody repays anything here: what our domain asks a loan besides.
    repayments = ()
    plans = ()
    written_off_on = None
