"""User names out of client certificates, for EXTERNAL.

The input is what ``ssl.SSLSocket.getpeercert()`` returns: a dictionary for a certificate that was verified,
an empty one for a certificate that was not. The distinguished name is written as RabbitMQ writes it (RFC
4514, last part first; seen on 3.10), so that user names can be carried over.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final, final

COMMON_NAME: Final = "common_name"
DISTINGUISHED_NAME: Final = "distinguished_name"
SUBJECT_ALTERNATIVE_NAME: Final = "subject_alternative_name"
LOGIN_FROM: Final = (COMMON_NAME, DISTINGUISHED_NAME, SUBJECT_ALTERNATIVE_NAME)

# The setting's word and Python's.
SAN_TYPES: Final[dict[str, str]] = {"dns": "DNS", "email": "email", "ip": "IP Address", "uri": "URI"}

# Python gives OpenSSL's long names; RabbitMQ has short names for some and writes the number of the others.
_SHORT_NAMES: Final[dict[str, str]] = {
    "commonName": "CN",
    "surname": "SN",
    "givenName": "GIVENNAME",
    "initials": "INITIALS",
    "generationQualifier": "GENERATIONQUALIFIER",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "title": "TITLE",
    "countryName": "C",
    "serialNumber": "SERIALNUMBER",
    "pseudonym": "PSEUDONYM",
    "domainComponent": "DC",
    "emailAddress": "EMAILADDRESS",
    "userId": "UID",
    "streetAddress": "2.5.4.9",
    "description": "2.5.4.13",
    "businessCategory": "2.5.4.15",
    "postalCode": "2.5.4.17",
    "postOfficeBox": "2.5.4.18",
    "telephoneNumber": "2.5.4.20",
    "roleOccupant": "2.5.4.33",
    "name": "2.5.4.41",
    "x500UniqueIdentifier": "2.5.4.45",
    "dnQualifier": "2.5.4.46",
    "organizationIdentifier": "2.5.4.97",
    "unstructuredName": "1.2.840.113549.1.9.2",
    "jurisdictionCountryName": "1.3.6.1.4.1.311.60.2.1.3",
}


@final
class CertificateName:
    """Where in a certificate the user name stands (``ssl_cert_login_from`` and its two helpers).

    ``login_from`` is one of ``LOGIN_FROM``. For the subject alternative name ``san_type`` is a key of
    ``SAN_TYPES`` and ``san_index`` counts the names of that type from 0. Raises ValueError for another value.
    """

    def __init__(self, login_from: str = DISTINGUISHED_NAME, san_type: str = "dns", san_index: int = 0) -> None:
        if login_from == "subject_alt_name":  # RabbitMQ takes both
            login_from = SUBJECT_ALTERNATIVE_NAME
        if login_from not in LOGIN_FROM:
            raise ValueError(f"ssl_cert_login_from is one of {', '.join(LOGIN_FROM)}, not '{login_from}'")
        if san_type not in SAN_TYPES:
            raise ValueError(f"ssl_cert_login_san_type is one of {', '.join(SAN_TYPES)}, not '{san_type}'")
        if san_index < 0:
            raise ValueError(f"ssl_cert_login_san_index must not be negative, it is {san_index}")
        self.login_from: Final = login_from
        self.san_type: Final = san_type
        self.san_index: Final = san_index

    def of(self, certificate: Mapping[str, object]) -> str:
        """The user name in the certificate; '' when there is none, or one that no user can have."""
        if self.login_from == COMMON_NAME:
            # Several are joined by commas, as RabbitMQ does.
            common = (value for part in _subject(certificate) for key, value in part if key == "commonName")
            name = ",".join(common)
        elif self.login_from == DISTINGUISHED_NAME:
            name = distinguished_name(certificate)
        else:
            name = self._alternative_name(certificate)
        # A name with a NUL in it is a known trick: some readers stop there, others do not.
        return "" if "\0" in name else name

    def _alternative_name(self, certificate: Mapping[str, object]) -> str:
        wanted = SAN_TYPES[self.san_type]
        names = [value for key, value in _pairs(certificate.get("subjectAltName")) if key == wanted]
        if self.san_index >= len(names):
            return ""
        name = names[self.san_index]
        return _address(name) if self.san_type == "ip" else name


def distinguished_name(certificate: Mapping[str, object]) -> str:
    """The subject as one string: ``CN=client,O=Example``."""
    parts = [
        "+".join(f"{_SHORT_NAMES.get(key, key)}={_escape(value)}" for key, value in part)
        for part in _subject(certificate)
    ]
    return ",".join(reversed(parts))


def _subject(certificate: Mapping[str, object]) -> Iterator[list[tuple[str, str]]]:
    subject = certificate.get("subject")
    if isinstance(subject, tuple):
        for part in subject:
            yield _pairs(part)


def _pairs(value: object) -> list[tuple[str, str]]:
    """The (name, text) pairs in a tuple of them; anything of another shape is left out."""
    if not isinstance(value, tuple):
        return []
    return [
        (pair[0], pair[1])
        for pair in value
        if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], str)
    ]


def _address(text: str) -> str:
    """An IP address in its usual short form; OpenSSL writes IPv6 in full."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return ""


def _escape(value: str) -> str:
    """Escape a value of a distinguished name; bytes outside printable ASCII become ``\\XX``."""
    last = len(value) - 1
    return "".join(_escape_character(char, index == 0, index == last) for index, char in enumerate(value))


def _escape_character(char: str, first: bool, last: bool) -> str:
    if char in ',+"\\<>;' or (char == "#" and first) or (char == " " and (first or last)):
        return "\\" + char
    if " " <= char < "~":
        return char
    # RabbitMQ escapes the tilde, too.
    return "".join(f"\\{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
