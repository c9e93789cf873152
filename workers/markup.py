"""What the XML of a worksheet says and python-calamine does not tell.

Calamine gives an Excel error, and a formula that was never calculated, as a blank; and it does not
say how far down the sheet's rows reach where the last ones are blank. Most sheets hold neither,
which a search of the bytes tells at once (0.1 s for 100,000 loans); only the others are parsed
again, by expat, for the places of such cells (3 s).
"""

import io
import posixpath
import re
import zipfile
from collections.abc import Callable
from typing import Final
from xml.parsers import expat

from msgspec import Struct

_ERROR: Final = (b'"e"', b"'e'")
_FORMULA: Final = {b"<f": (b"<f>", b"<f ", b"<f/"), b":f": (b":f>", b":f ", b":f/")}
_UNCALCULATED: Final = re.compile(
    rb"(?:</(?:\w+:)?f\s*>|<(?:\w+:)?f\b[^>]*/>)\s*"
    rb"(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v\s*>\s*</|</(?:\w+:)?c\s*>)"
)
_ROW: Final = re.compile(rb"<(?:\w+:)?row\b([^>]*)>")
_ROW_NUMBER: Final = re.compile(rb"""\sr\s*=\s*["'](\d{1,7})["']""")
_CELL: Final = re.compile(r"([A-Za-z]{1,3})(\d{1,7})")
_LONGEST_ERROR: Final = 20


class MarkupError(Exception):
    """The workbook's XML is not what a workbook's should be."""


class Markup(Struct, frozen=True):
    """``no_values``: row -> column -> what the cell holds; ``last_row``; all counted from zero."""

    no_values: dict[int, dict[int, str]]
    last_row: int


class Package:
    """The parts of an .xlsx: where each sheet is, and the date system. Raises ``MarkupError``."""

    def __init__(self, content: bytes) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        self._names = {name.lower(): name for name in self._archive.namelist()}
        self.is_1904 = False
        self._ids: dict[str, str] = {}
        self._targets: dict[str, str] = {}
        _walk(self._part("xl/workbook.xml"), self._workbook_element)
        _walk(self._part("xl/_rels/workbook.xml.rels"), self._relationship)

    def markup(self, sheet: str) -> Markup:
        """Look through one sheet's XML."""
        target = self._targets.get(self._ids.get(sheet, ""))
        if target is None:
            raise MarkupError("the sheet has no part")
        return read_markup(self._part(posixpath.normpath(posixpath.join("/xl", target))))

    def _part(self, path: str) -> bytes:
        name = self._names.get(path.lstrip("/").lower())
        if name is None:
            raise MarkupError(f"there is no part {path[:100]!r}")
        return self._archive.read(name)

    def _workbook_element(self, name: str, attributes: dict[str, str]) -> None:
        if name == "workbookPr":
            self.is_1904 = attributes.get("date1904") in {"1", "true", "on"}
        elif name == "sheet":
            reference = next((attributes[key] for key in attributes if key.endswith(" id")), "")
            self._ids.setdefault(attributes.get("name", ""), reference)

    def _relationship(self, name: str, attributes: dict[str, str]) -> None:
        if name == "Relationship":
            self._targets[attributes.get("Id", "")] = attributes.get("Target", "")


def read_markup(xml: bytes) -> Markup:
    """Find the cells that hold no value, and the last row there is."""
    # Plain searches first, as few as will do: each takes a tenth of the time of one for a pattern.
    has_formulas = any(
        start in xml and any(tag in xml for tag in tags) for start, tags in _FORMULA.items()
    )
    may_be_uncalculated = has_formulas and _UNCALCULATED.search(xml)
    if may_be_uncalculated or any(quoted in xml for quoted in _ERROR):
        scan = _Scan()
        _walk(xml, scan.start, scan.end, scan.text)
        return Markup(scan.no_values, scan.last_row)
    return Markup({}, _last_row(xml))


def _last_row(xml: bytes) -> int:
    at = xml.rfind(b"<row ")
    number = _ROW_NUMBER.search(xml, at, xml.find(b">", at)) if at >= 0 else None
    if number is not None:
        return int(number[1]) - 1
    last_row = -1
    for row in _ROW.finditer(xml):
        number = _ROW_NUMBER.search(row[1])
        last_row = last_row + 1 if number is None else int(number[1]) - 1
    return last_row


class _Scan:
    """Follows a sheet's rows, cells, formulas and values."""

    def __init__(self) -> None:
        self.no_values: dict[int, dict[int, str]] = {}
        self.last_row = -1
        self._row = -1
        self._column = -1
        self._is_error = self._may_be_blank = self._has_formula = self._in_value = False
        self._value = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            number = attributes.get("r", "")
            self._row = int(number) - 1 if number.isdecimal() else self._row + 1
            self._column = -1
            self.last_row = max(self.last_row, self._row)
        elif name == "c":
            self._place(attributes.get("r"))
            kind = attributes.get("t")
            self._is_error = kind == "e"
            # The text a formula gives may be empty, which is a blank; a number never is.
            self._may_be_blank = kind == "str"
            self._has_formula = False
            self._value = ""
        elif name == "f":
            self._has_formula = True
        elif name == "v":
            self._in_value = True

    def end(self, name: str) -> None:
        if name == "v":
            self._in_value = False
        elif name == "c":
            if self._is_error:
                self._mark(f"the error {self._value[:_LONGEST_ERROR] or 'of a formula'}")
            elif self._has_formula and not self._value and not self._may_be_blank:
                self._mark("a formula that was never calculated (open it in Excel and save it)")

    def text(self, data: str) -> None:
        if self._in_value:
            self._value += data

    def _place(self, reference: str | None) -> None:
        cell = _CELL.fullmatch(reference or "")
        if cell is None:
            self._column += 1
            return
        self._row = int(cell[2]) - 1
        self._column = -1
        for letter in cell[1].upper():
            self._column = (self._column + 1) * 26 + ord(letter) - ord("A")

    def _mark(self, holds: str) -> None:
        self.no_values.setdefault(self._row, {})[self._column] = holds


def _walk(
    xml: bytes,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None] | None = None,
    text: Callable[[str], None] | None = None,
) -> None:
    """Walk through XML, elements and attributes by local name; a namespaced attribute as
    ``<namespace> <name>``.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = lambda name, attributes: start(name.rpartition(" ")[2], attributes)
    if end is not None:
        parser.EndElementHandler = lambda name: end(name.rpartition(" ")[2])
    if text is not None:
        parser.CharacterDataHandler = text
    try:
        parser.Parse(xml, True)  # noqa: FBT003 - the C function takes no keyword
    except expat.ExpatError as error:
        raise MarkupError(str(error)) from error
