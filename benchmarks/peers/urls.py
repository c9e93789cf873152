"""Django's routes."""

from typing import Final

from django.urls import path

from benchmarks.peers.views import CheckEligibility, CreateLoan, Register, ViewLoan, ViewLoans

urlpatterns: Final = [
    path("register", Register.as_view()),
    path("check-eligibility", CheckEligibility.as_view()),
    path("create-loan", CreateLoan.as_view()),
    path("view-loan/<int:pk>", ViewLoan.as_view()),
    path("view-loans/<int:pk>", ViewLoans.as_view()),
]
