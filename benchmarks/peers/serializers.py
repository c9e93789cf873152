"""What is asked and answered, with the bounds of our own contract."""

from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers

from credit_es.domain.standing import repayments_left, status_of


class RegisterRequest(serializers.Serializer):
    """Somebody to be known."""

    first_name = serializers.CharField(max_length=100)
    last_name = serializers.CharField(max_length=100)
    age = serializers.IntegerField(min_value=18, max_value=120)
    monthly_income = serializers.IntegerField(min_value=0, max_value=10**9)
    phone_number = serializers.IntegerField(min_value=10**6, max_value=10**15 - 1)


class LoanRequest(serializers.Serializer):
    """A loan asked for."""

    customer_id = serializers.IntegerField(min_value=1)
    loan_amount = serializers.DecimalField(max_digits=15, decimal_places=2, min_value=0)
    interest_rate = serializers.DecimalField(
        max_digits=5, decimal_places=2, min_value=0, max_value=100
    )
    tenure = serializers.IntegerField(min_value=1, max_value=600)


class Borrower(serializers.Serializer):
    """Whose loan it is."""

    id = serializers.IntegerField()
    first_name = serializers.CharField()
    last_name = serializers.CharField()
    phone_number = serializers.IntegerField()
    age = serializers.IntegerField()


class LoanItem(serializers.Serializer):
    """A loan."""

    loan_id = serializers.IntegerField(source="id")
    loan_amount = serializers.DecimalField(15, 2, source="amount")
    interest_rate = serializers.DecimalField(5, 2, source="annual_rate")
    monthly_installment = serializers.DecimalField(15, 2, source="installment")
    tenure = serializers.IntegerField(source="tenure_months")
    repayments_left = serializers.SerializerMethodField()
    status = serializers.SerializerMethodField()
    closed_on = serializers.ReadOnlyField(default=None)
    approved_on = serializers.DateField(source="opened_on")
    end_date = serializers.DateField(source="ends_on")
    source_loan_id = serializers.CharField()

    def get_repayments_left(self, loan: Any) -> int:
        """Installments not paid yet."""
        return repayments_left(loan)

    def get_status(self, loan: Any) -> str:
        """How it stands today."""
        return status_of(loan, datetime.now(UTC).date())


class LoanView(LoanItem):
    """A loan with its customer."""

    customer = Borrower()


class CustomerRow(serializers.Serializer):
    """A row of the customers workbook."""

    id = serializers.IntegerField(min_value=1, max_value=10**12)
    first_name = serializers.CharField(max_length=100)
    last_name = serializers.CharField(max_length=100)
    age = serializers.IntegerField(allow_null=True)
    phone_number = serializers.IntegerField(allow_null=True)
    monthly_income = serializers.DecimalField(15, 2, min_value=0)
    approved_limit = serializers.DecimalField(15, 2, min_value=0)


class LoanRow(serializers.Serializer):
    """A row of the loans workbook."""

    customer_id = serializers.IntegerField(min_value=1, max_value=10**12)
    source_loan_id = serializers.CharField(max_length=100)
    amount = serializers.DecimalField(15, 2, min_value=0)
    annual_rate = serializers.DecimalField(5, 2, min_value=0, max_value=100)
    tenure_months = serializers.IntegerField(min_value=1)
    installment = serializers.DecimalField(15, 2, min_value=0)
    emis_on_time = serializers.IntegerField(min_value=0)
    opened_on = serializers.DateField()
    ends_on = serializers.DateField()
