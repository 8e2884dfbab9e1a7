"""User names out of certificates, against what RabbitMQ 3.10.8 read from the same certificates."""

from __future__ import annotations

import pytest

from amqpd.auth.certificates import CertificateName, distinguished_name

# getpeercert() of a certificate that was given to RabbitMQ's rabbit_cert_info:subject, too.
CERTIFICATE: dict[str, object] = {
    "subject": (
        (("countryName", "DE"),),
        (("organizationName", "Acme, Inc"),),
        (("organizationalUnitName", " ops"), ("userId", "u1")),
        (("commonName", "clïent#1 "),),
        (("commonName", "two"),),
        (("emailAddress", "a@b.c"),),
        (("title", "T"),),
        (("surname", "s"),),
        (("givenName", "g"),),
        (("domainComponent", "dc1"),),
        (("streetAddress", "st"),),
        (("serialNumber", "5"),),
        (("pseudonym", "ps"),),
        (("initials", "i"),),
        (("generationQualifier", "q"),),
        (("description", "d"),),
        (("localityName", "l"),),
        (("stateOrProvinceName", "s"),),
    ),
    "subjectAltName": (
        ("DNS", "a.example"),
        ("DNS", "b.example"),
        ("email", "m@x.y"),
        ("IP Address", "10.0.0.1"),
        ("IP Address", "0:0:0:0:0:0:0:1"),
        ("URI", "spiffe://x/y"),
    ),
}
ODD_CERTIFICATE: dict[str, object] = {
    "subject": (
        (("commonName", '#a~b\\"<>;'),),
        (("dnQualifier", "dq"),),
        (("postalCode", "12"),),
        (("businessCategory", "bc"),),
        (("organizationIdentifier", "oi"),),
        (("name", "nm"),),
        (("organizationalUnitName", "  a  "),),
        (("jurisdictionCountryName", "DE"),),
        (("userId", "u"),),
        (("x500UniqueIdentifier", "xx"),),
        (("postOfficeBox", "pb"),),
        (("telephoneNumber", "1"),),
        (("roleOccupant", "r"),),
        (("unstructuredName", "un"),),
    )
}


def test_distinguished_name_is_rabbitmqs() -> None:
    assert distinguished_name(CERTIFICATE) == (
        "ST=s,L=l,2.5.4.13=d,GENERATIONQUALIFIER=q,INITIALS=i,PSEUDONYM=ps,SERIALNUMBER=5,2.5.4.9=st,DC=dc1,"
        "GIVENNAME=g,SN=s,TITLE=T,EMAILADDRESS=a@b.c,CN=two,CN=cl\\C3\\AFent#1\\ ,"
        "OU=\\ ops+UID=u1,O=Acme\\, Inc,C=DE"
    )


def test_escapes_and_rare_attributes_are_rabbitmqs() -> None:
    assert distinguished_name(ODD_CERTIFICATE) == (
        "1.2.840.113549.1.9.2=un,2.5.4.33=r,2.5.4.20=1,2.5.4.18=pb,2.5.4.45=xx,UID=u,"
        "1.3.6.1.4.1.311.60.2.1.3=DE,OU=\\  a \\ ,2.5.4.41=nm,2.5.4.97=oi,2.5.4.15=bc,2.5.4.17=12,"
        "2.5.4.46=dq,"
        'CN=\\#a\\7Eb\\\\\\"\\<\\>\\;'
    )


@pytest.mark.parametrize(
    ("naming", "name"),
    [
        (CertificateName("common_name"), "clïent#1 ,two"),
        (CertificateName(), distinguished_name(CERTIFICATE)),
        (CertificateName("subject_alternative_name"), "a.example"),
        (CertificateName("subject_alt_name"), "a.example"),
        (CertificateName("subject_alternative_name", "dns", 1), "b.example"),
        (CertificateName("subject_alternative_name", "dns", 2), ""),
        (CertificateName("subject_alternative_name", "email"), "m@x.y"),
        (CertificateName("subject_alternative_name", "ip"), "10.0.0.1"),
        (CertificateName("subject_alternative_name", "ip", 1), "::1"),
        (CertificateName("subject_alternative_name", "uri"), "spiffe://x/y"),
    ],
)
def test_name_is_taken_from_where_the_setting_says(naming: CertificateName, name: str) -> None:
    assert naming.of(CERTIFICATE) == name


@pytest.mark.parametrize("where", ["common_name", "distinguished_name", "subject_alternative_name"])
@pytest.mark.parametrize("certificate", [{}, {"subject": (), "subjectAltName": ()}, {"subject": None}])
def test_certificate_without_the_name_gives_none(where: str, certificate: dict[str, object]) -> None:
    assert CertificateName(where).of(certificate) == ""


def test_name_with_nul_is_no_name() -> None:
    certificate: dict[str, object] = {
        "subject": ((("commonName", "admin\0.evil.example"),),),
        "subjectAltName": (("DNS", "admin\0.evil.example"), ("IP Address", "<invalid>")),
    }
    assert CertificateName("common_name").of(certificate) == ""
    assert CertificateName("subject_alternative_name").of(certificate) == ""
    assert CertificateName("subject_alternative_name", "ip").of(certificate) == ""


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="common_name, distinguished_name, subject_alternative_name, not 'cn'"):
        CertificateName("cn")
    with pytest.raises(ValueError, match="dns, email, ip, uri, not 'other_name'"):
        CertificateName("subject_alternative_name", "other_name")
    with pytest.raises(ValueError, match="must not be negative"):
        CertificateName("subject_alternative_name", "dns", -1)
