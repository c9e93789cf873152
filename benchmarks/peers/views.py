"""The five endpoints."""

from datetime import UTC, date, datetime
from typing import Any, Final

from django.db import transaction
from django.shortcuts import get_object_or_404
from rest_framework.generics import RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks.peers.models import Customer, Loan
from benchmarks.peers.serializers import LoanItem, LoanRequest, LoanView, RegisterRequest
from credit_es.domain.customer import approved_limit
from credit_es.domain.policy import judge, load_policy
from credit_es.domain.schedule import months_later
from credit_es.domain.standing import is_current
from credit_es.domain.values import Terms

POLICY: Final = load_policy("standard")


class Register(APIView):
    """``POST /register``."""

    def post(self, request: Request) -> Response:
        """Keep a customer, and grant a limit."""
        asked = _checked(RegisterRequest, request)
        customer = Customer.objects.create(
            **asked, approved_limit=approved_limit(asked["monthly_income"])
        )
        answer = {
            "customer_id": customer.id,
            "name": f"{customer.first_name} {customer.last_name}",
            "age": customer.age,
            "monthly_income": customer.monthly_income,
            "approved_limit": int(customer.approved_limit),
            "phone_number": customer.phone_number,
        }
        return Response(answer, status=201)


class CheckEligibility(APIView):
    """``POST /check-eligibility``."""

    def post(self, request: Request) -> Response:
        """Judge, and keep nothing."""
        asked = _checked(LoanRequest, request)
        customer = get_object_or_404(Customer, pk=asked["customer_id"])
        verdict = judge(POLICY, customer, customer.loans.all(), _terms(asked), _today())
        return Response(
            {
                "customer_id": customer.id,
                "approval": verdict.approved,
                "interest_rate": asked["interest_rate"],
                "corrected_interest_rate": verdict.annual_rate,
                "tenure": asked["tenure"],
                "monthly_installment": verdict.installment,
                "score": verdict.scorecard.score,
                "reasons": verdict.reasons,
            }
        )


class CreateLoan(APIView):
    """``POST /create-loan``."""

    def post(self, request: Request) -> Response:
        """Decide, with the customer locked, and keep the loan that was granted."""
        asked = _checked(LoanRequest, request)
        terms, today, loan = _terms(asked), _today(), None
        with transaction.atomic():
            locked = Customer.objects.select_for_update()
            customer = get_object_or_404(locked, pk=asked["customer_id"])
            verdict = judge(POLICY, customer, customer.loans.all(), terms, today)
            if verdict.approved:
                loan = customer.loans.create(
                    amount=terms.amount,
                    annual_rate=verdict.annual_rate,
                    tenure_months=terms.tenure_months,
                    installment=verdict.installment,
                    opened_on=today,
                    ends_on=months_later(today, terms.tenure_months),
                )
        answer = {
            "loan_id": loan.id if loan else None,
            "customer_id": customer.id,
            "loan_approved": verdict.approved,
            "message": "The loan is approved." if loan else "The loan is declined.",
            "monthly_installment": verdict.installment,
            "interest_rate": verdict.annual_rate,
            "reasons": verdict.reasons,
        }
        return Response(answer, status=201 if loan else 200)


class ViewLoan(RetrieveAPIView):
    """``GET /view-loan/{loan_id}``."""

    queryset = Loan.objects.select_related("customer")
    serializer_class = LoanView


class ViewLoans(APIView):
    """``GET /view-loans/{customer_id}``."""

    def get(self, request: Request, pk: int) -> Response:
        """List a customer's loans; a second query tells no loans from no customer."""
        loans = list(Loan.objects.filter(customer_id=pk).order_by("id"))
        if not loans:
            get_object_or_404(Customer, pk=pk)
        status, today = request.query_params.get("status", "current"), _today()
        shown = [
            loan
            for loan in loans
            if status == "all" or is_current(loan, today) == (status == "current")
        ]
        return Response(LoanItem(shown, many=True).data)


def _checked(serializer: Any, request: Request) -> dict[str, Any]:
    given = serializer(data=request.data)
    given.is_valid(raise_exception=True)
    asked: dict[str, Any] = given.validated_data
    return asked


def _terms(asked: dict[str, Any]) -> Terms:
    return Terms(
        amount=asked["loan_amount"],
        annual_rate=asked["interest_rate"],
        tenure_months=asked["tenure"],
    )


def _today() -> date:
    return datetime.now(UTC).date()
