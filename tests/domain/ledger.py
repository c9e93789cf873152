"""A loan's account as a clerk keeps it by hand, in whole cents: the model of ``test_lifecycle``.

It calls nothing of the domain. Asked how the loan stands, it goes through everything again from the
first day on.
"""

from datetime import date
from fractions import Fraction
from math import floor

from msgspec import Struct
from msgspec.structs import replace


class Money(Struct, frozen=True, kw_only=True):
    """What came, in the order in which it was recorded."""

    cents: int
    on: date
    prepays: bool = False
    keeps_tenure: bool = False
    was_taken_back: bool = False


class Row(Struct, frozen=True, kw_only=True):
    """An installment: its parts, and what is owed behind it."""

    interest: int
    principal: int
    balance: int

    @property
    def payment(self) -> int:
        """What is to be paid."""
        return self.interest + self.principal


class Owed(Struct, frozen=True, kw_only=True):
    """What pays the loan off on a day; ``number`` is the last installment that is paid then."""

    arrears: int
    interest: int
    principal: int
    number: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.arrears + self.interest + self.principal


class Terms(Struct, frozen=True, kw_only=True):
    """What is agreed from installment ``after`` + 1 on, with the money that has come since."""

    after: int
    owed: int
    payment: int
    rows: list[Row]
    begins: date
    money: int = 0

    @property
    def full(self) -> int:
        """How many rows are paid; none before anything came, not even one of nothing."""
        count = 0
        while self.money and count < len(self.rows) and self._up_to(count + 1) <= self.money:
            count += 1
        return count

    @property
    def waiting(self) -> int:
        """The part payment of the next row."""
        return self.money - self._up_to(self.full)

    @property
    def left(self) -> int:
        """What is still to be paid, in all."""
        return self._up_to(len(self.rows)) - self.money

    def balance(self, count: int) -> int:
        """What is owed behind so many rows."""
        return self.rows[count - 1].balance if count else self.owed

    def _up_to(self, count: int) -> int:
        return sum(row.payment for row in self.rows[:count])


def half_up(exact: Fraction) -> int:
    """Whole cents."""
    return floor(exact + Fraction(1, 2))


def due_on(opened_on: date, number: int) -> date:
    """The day of the month on which the loan was opened, or the month's last."""
    years, month = divmod(opened_on.month - 1 + number, 12)
    for day in range(opened_on.day, 0, -1):
        try:
            return date(opened_on.year + years, month + 1, day)
        except ValueError:
            continue
    raise AssertionError


def annuity(owed: int, rate: Fraction, count: int) -> int:
    """The payment that ``count`` times, each discounted, is worth what is owed."""
    discounts = [(1 / (1 + rate)) ** month for month in range(1, count + 1)]
    return half_up(owed / sum(discounts, Fraction(0)))


def table(owed: int, rate: Fraction, count: int, payment: int, first: int | None) -> list[Row]:
    """All rows; ``first`` is the interest of the first month where it began late."""
    rows: list[Row] = []
    for number in range(1, count + 1):
        interest = first if number == 1 and first is not None else half_up(owed * rate)
        principal = owed if number == count else min(payment - interest, owed)
        owed -= principal
        rows.append(Row(interest=interest, principal=principal, balance=owed))
    return rows


class Ledger:
    """One loan: ``rate`` is that of a month, amounts are cents."""

    def __init__(self, *, amount: int, rate: Fraction, count: int, opened_on: date) -> None:
        self.opened_on = opened_on
        self.rate = rate
        payment = annuity(amount, rate, count)
        self._agreed = Terms(
            after=0,
            owed=amount,
            payment=payment,
            rows=table(amount, rate, count, payment, None),
            begins=opened_on,
        )
        self.money: list[Money] = []

    def take_back(self, place: int) -> None:
        """What came never came."""
        self.money[place] = replace(self.money[place], was_taken_back=True)

    def now(self) -> Terms:
        """What is agreed, after all that came."""
        terms = self._agreed
        for one in self.money:
            if one.was_taken_back:
                continue
            if one.prepays:
                terms = self._anew(terms, one)
            else:
                terms = replace(terms, money=terms.money + one.cents)
        return terms

    def owed(self, terms: Terms, on: date) -> Owed:
        """Arrears, then interest by days, then principal; what waits pays interest first."""
        due = 0
        while due < len(terms.rows) and due_on(self.opened_on, terms.after + due + 1) <= on:
            due += 1
        full, waiting, arrears = terms.full, terms.waiting, 0
        if due > full:
            arrears = sum(row.payment for row in terms.rows[full:due]) - waiting
            full, waiting = due, 0
        interest = 0
        if due == full < len(terms.rows):
            begins = due_on(self.opened_on, terms.after + full) if full else terms.begins
            ends = due_on(self.opened_on, terms.after + full + 1)
            share = Fraction(max((on - begins).days, 0), (ends - begins).days)
            interest = half_up(terms.rows[full].interest * share)
        principal = terms.balance(full)
        of_interest = min(waiting, interest)
        return Owed(
            arrears=arrears,
            interest=interest - of_interest,
            principal=max(principal - (waiting - of_interest), 0),
            number=terms.after + full,
        )

    def _anew(self, terms: Terms, one: Money) -> Terms:
        owed = self.owed(terms, one.on)
        rest = owed.total - one.cents
        assert 0 <= rest < owed.principal or not rest
        begins = due_on(self.opened_on, owed.number)
        count = terms.after + len(terms.rows) - owed.number
        if not rest:
            return replace(terms, after=owed.number, owed=0, rows=[], money=0)
        first = None
        if one.on > begins:
            ends = due_on(self.opened_on, owed.number + 1)
            days = Fraction((ends - one.on).days, (ends - begins).days)
            first, begins = half_up(rest * self.rate * days), one.on
        payment = annuity(rest, self.rate, count) if one.keeps_tenure else terms.payment
        rows = table(rest, self.rate, count, payment, first)
        if not one.keeps_tenure:
            rows = rows[: 1 + next(n for n, row in enumerate(rows) if not row.balance)]
        return Terms(after=owed.number, owed=rest, payment=payment, rows=rows, begins=begins)
