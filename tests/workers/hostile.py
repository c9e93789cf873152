"""Builders of workbooks: plain ones by openpyxl, and hostile ones made of bytes.

``sheet_bytes`` writes the XML itself, so that a test can say what no writer would.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Final
from xml.sax.saxutils import escape

from openpyxl import Workbook

CUSTOMER_HEADINGS: Final = (
    "Customer ID",
    "First Name",
    "Last Name",
    "Age",
    "Phone Number",
    "Monthly Salary",
    "Approved Limit",
)
LOAN_HEADINGS: Final = (
    "Customer ID",
    "Loan ID",
    "Loan Amount",
    "Tenure",
    "Interest Rate",
    "Monthly payment",
    "EMIs paid on Time",
    "Date of Approval",
    "End Date",
)
CUSTOMER: Final = (1, "Aaron", "Garcia", 63, 9629317944, 50000, 4500000)
LOAN: Final = (14, 5930, 900000, 129, 8.2, 15344, 114, date(2017, 3, 9), date(2027, 12, 9))

Values = Iterable[Sequence[object]]


def workbook(*sheets: Values, change: Callable[[Workbook], None] | None = None) -> bytes:
    """Save sheets of rows as openpyxl does; ``change`` sees the workbook before it is filled."""
    book = Workbook()
    if change is not None:
        change(book)
    for number, rows in enumerate(sheets):
        sheet = book.active if number == 0 else book.create_sheet()
        assert sheet is not None
        for row in rows:
            sheet.append([*row])
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def customers(*rows: Sequence[object], headings: Sequence[object] = CUSTOMER_HEADINGS) -> bytes:
    return workbook([headings, *rows])


def loans(*rows: Sequence[object], headings: Sequence[object] = LOAN_HEADINGS) -> bytes:
    return workbook([headings, *rows])


def cell(reference: str, value: object) -> str:
    """One cell's XML: a number, or text written in place."""
    if isinstance(value, str):
        text = f'<is><t xml:space="preserve">{escape(value)}</t></is>'
        return f'<c r="{reference}" t="inlineStr">{text}</c>'
    return f'<c r="{reference}"><v>{value}</v></c>'


def row(number: int, values: Sequence[object]) -> str:
    cells = [
        cell(f"{chr(65 + at)}{number}", value)
        for at, value in enumerate(values)
        if value is not None
    ]
    return f'<row r="{number}">{"".join(cells)}</row>'


def sheet_bytes(
    *rows: str,
    before: str = "",
    after: str = "",
    doctype: str = "",
    properties: str = "",
    strings: str = "",
) -> bytes:
    """An .xlsx whose only sheet has these rows of XML; ``strings`` are its shared strings."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'{doctype}<workbook xmlns="{main}" xmlns:r="{office}">'
        f"{properties}<sheets>"
        '<sheet name="Sheet1" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}"><Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}">{before}<sheetData>'
        f"{''.join(rows)}</sheetData>{after}</worksheet>",
    }
    if strings:
        parts["xl/sharedStrings.xml"] = f'<sst xmlns="{main}">{strings}</sst>'
    return archive(parts)


def archive(parts: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as out:
        for name, text in parts.items():
            out.writestr(name, text)
    return stream.getvalue()


def text_file() -> bytes:
    return b"Customer ID,First Name,Last Name\n1,Aaron,Garcia\n"


def truncated() -> bytes:
    content = customers(CUSTOMER)
    return content[: len(content) // 2]


def flipped_byte() -> bytes:
    """A workbook whose sheet was damaged on its way, the archive's index being whole."""
    content = bytearray(sheet_bytes(row(1, CUSTOMER_HEADINGS), row(2, CUSTOMER)))
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as source:
        member = source.getinfo("xl/worksheets/sheet1.xml")
    content[member.header_offset + 30 + len(member.filename) + member.compress_size // 2] ^= 0xFF
    return bytes(content)


def ole_file(stream_name: str) -> bytes:
    """What starts as an OLE file and names a stream: ``EncryptedPackage``, or ``Workbook``."""
    return bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504) + stream_name.encode("utf-16-le")


def encrypted_member() -> bytes:
    """A workbook with the flag of an encrypted member set, in both of its headers."""
    content = bytearray(customers(CUSTOMER))
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as source:
        local = source.getinfo("xl/workbook.xml").header_offset
    central = content.rindex(b"xl/workbook.xml") - 46
    content[local + 6] |= 1
    content[central + 8] |= 1
    return bytes(content)


def zip_bomb(*, zeros: int, declared: int | None = None, checksum_of: int | None = None) -> bytes:
    """A workbook with a member of zeros; ``declared`` is the size its headers lie about.

    The lie comes with the checksum of so many zeros (or of ``checksum_of``), so that a reader that
    stops at the declared size finds nothing wrong.
    """
    stream = io.BytesIO(sheet_bytes(row(1, CUSTOMER_HEADINGS), row(2, CUSTOMER)))
    name = "xl/media/image1.bin"
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as out, out.open(name, "w") as member:
        for _ in range(zeros >> 20):
            member.write(bytes(1 << 20))
    if declared is None:
        return stream.getvalue()
    content = bytearray(stream.getvalue())
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as source:
        local = source.getinfo(name).header_offset
    central = content.rindex(name.encode()) - 46
    checksum = zlib.crc32(bytes(declared if checksum_of is None else checksum_of))
    lie = struct.pack("<I", checksum), struct.pack("<I", declared)
    content[local + 14 : local + 18], content[local + 22 : local + 26] = lie
    content[central + 16 : central + 20], content[central + 24 : central + 28] = lie
    return bytes(content)


def far_cell() -> bytes:
    """A file of a few KB with one cell at the far corner, on which calamine aborts its process."""
    far = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    return sheet_bytes(row(1, CUSTOMER_HEADINGS), row(2, CUSTOMER), far)


def entity_bomb() -> bytes:
    """A sound workbook but for an entity in its XML that expands to a terabyte."""
    names = "abcdefghij"
    entities = f"<!ENTITY a '{'x' * 1000}'>" + "".join(
        f"<!ENTITY {name} '{f'&{names[at]};' * 10}'>" for at, name in enumerate(names[1:])
    )
    return sheet_bytes(
        row(1, CUSTOMER_HEADINGS),
        row(2, CUSTOMER),
        doctype=f"<!DOCTYPE workbook [{entities}]>",
        properties="<definedNames>&j;</definedNames>",
    )


def huge_shared_string(*, copies: int) -> bytes:
    """A string of 32,000 characters that so many cells share: small here, huge where copied."""
    cells = "".join(f'<row r="{n}"><c r="H{n}" t="s"><v>0</v></c></row>' for n in range(3, copies))
    return sheet_bytes(
        row(1, CUSTOMER_HEADINGS),
        row(2, CUSTOMER),
        cells,
        strings=f"<si><t>{'x' * 32_000}</t></si>",
    )
