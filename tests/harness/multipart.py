"""Multipart forms as senders of mail make them, and as attackers would."""

from __future__ import annotations

import hashlib
import hmac
import time
import uuid

BOUNDARY = "xYzZY"
DELIMITER = f"--{BOUNDARY}".encode()
TYPE = ("content-type", f"multipart/form-data; boundary={BOUNDARY}")
# The fields that the scheme reads, signed by Mailgun's formula.
SIGNATURE = {
    "form": "signature",
    "message": "{timestamp}{id}",
    "timestamp": {"form": "timestamp"},
    "id": {"form": "token"},
    "body": "unsigned",
}
NAME = b'Content-Disposition: form-data; name="attachment-1"'
FILE = NAME + b'; filename="a.txt"'

MAIL = b"""Subject: a mail with an attachment
Content-Type: multipart/mixed; boundary="inner"

--inner
Content-Type: text/plain; charset=iso-8859-1

Gr\xfc\xdfe, name="token"
--inner
Content-Disposition: attachment; filename="signature.asc"
Content-Type: application/pgp-signature; name="signature.asc"

text
--inner--
"""
CRLF_MAIL = MAIL.replace(b"\n", b"\r\n")
PARTS = CRLF_MAIL.partition(b"\r\n\r\n")[2]

# Heads and values of parts whose neighbours are in order. No application reads them as one of the signed fields.
ATTACHMENTS = {
    "a charset": (FILE + b"\r\nContent-Type: text/plain; charset=iso-8859-1", b"Gr\xfc\xdfe"),
    "utf-7": (FILE + b"\r\nContent-Type: text/html; charset=utf-7", b"+ADw-"),
    "a name in UTF-8": (NAME + '; filename="Grüße.txt"'.encode(), b"text"),
    "a name in Latin-1": (NAME + '; filename="Grüße.txt"'.encode("latin-1"), b"text"),
    "RFC 5987": (FILE + b"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%3B%20name%3Dtoken", b"text"),
    "RFC 2047": (NAME + b'; filename="=?UTF-8?B?dG9rZW4=?="', b"text"),
    "escaped quotes": (NAME + rb'; filename="a \"quoted\" name.txt"', b"text"),
    "percent-encoded quotes": (NAME + b'; filename="a %22quoted%22 name.txt"', b"text"),
    "a name like a field": (NAME + b'; filename="token"', b"text"),
    "a name in brackets": (NAME + b'; filename="signature[1].txt"', b"text"),
    "a backslash": (NAME + rb'; filename="a\b.txt"', b"text"),
    "an apostrophe": (NAME + b"; filename=\"it's a 'name'.txt\"", b"text"),
    "an equals sign": (NAME + b'; filename="a=b&size=4.txt"', b"text"),
    "white space around a semicolon": (NAME + b' ; filename="a.txt";', b"text"),
    "an empty name of a file": (NAME + b'; filename=""', b""),
    "a semicolon and a colon": (NAME + b'; filename="re: a; b.txt"', b"text"),
    "more parameters": (FILE + b'; size=4; creation-date="Tue, 01 Apr 2025 08:24:29 GMT"', b"text"),
    "no quotation marks": (b"Content-Disposition: form-data; name=attachment-1; filename=a.txt", b"text"),
    "a folded line": (NAME + b';\r\n\tfilename="a.txt"\r\nContent-Type: text/plain;\r\n name="token"', b"text"),
    "another order": (b'Content-Type: text/plain; name=token\r\ncontent-disposition:form-data;name="x"', b"text"),
    "a signature": (
        NAME + b'; filename="smime.p7s"\r\nContent-Type: application/pkcs7-signature; name="signature"',
        b"\x30\x80\x06\x09",
    ),
    "base64": (FILE + b"\r\nContent-Transfer-Encoding: base64", b"dGV4dA=="),
    "quoted-printable": (FILE + b"\r\nContent-Transfer-Encoding: quoted-printable", b"Gr=C3=BC"),
    "other headers": (
        FILE + b"\r\nContent-ID: <token>\r\nX-Attachment-Id: token\r\nContent-Description: OpenPGP signature",
        b"text",
    ),
    "a field in another charset": (
        b'Content-Disposition: form-data; name="body-html"\r\nContent-Type: text/html; charset=windows-1252',
        b"Gr\xfc\xdfe",
    ),
    "a mail in base64": (
        FILE + b"\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64",
        b"U3ViamVjdDogYSBtYWls",
    ),
    "a mail": (FILE + b"\r\nContent-Type: message/rfc822", CRLF_MAIL),
    "a mail with LF": (FILE + b"\r\nContent-Type: message/rfc822", MAIL),
    "nested parts": (FILE + b"\r\nContent-Type: multipart/mixed; boundary=inner", PARTS),
    "nested files": (
        NAME + b"\r\nContent-Type: multipart/mixed; boundary=inner",
        b'--inner\r\nContent-Disposition: file; filename="a.txt"\r\n\r\ntext\r\n--inner--',
    ),
}

FORGED = b'Content-Disposition: form-data; name="token"\r\n\r\nforged'
NESTED = FILE + b"\r\nContent-Type: multipart/mixed; boundary=inner"
# After the end of nested parts, a parser could skip the length of a delimiter without a look at it. Python's `cgi` loses
# the fields after nested parts.
NESTED_END = b"--inner\r\nContent-Disposition: file; filename=a\r\n\r\nx\r\n--inner--" + b"z" * 9 + b"\r\n"

# Parts that some application could read as a signed field.
ATTACKS = {
    "the name again": (b'Content-Disposition: form-data; name="token"', b"forged"),
    "a file": (b'Content-Disposition: form-data; name="token"; filename="a.txt"', b"forged"),
    "another charset": (
        b'Content-Disposition: form-data; name="token"\r\nContent-Type: text/plain; charset=utf-7',
        b"forged",
    ),
    "another spelling": (b'Content-Disposition: form-data; name="Token[]"; filename*=x', b"forged"),
    "a second name": (FILE + b'; name="token"', b"forged"),
    "a second name, folded": (FILE + b';\r\n\tNAME = "token"', b"forged"),
    "an extended name": (NAME + b"; name*=utf-8''%74oken", b"forged"),
    "a continued name": (NAME + b'; name*0="to"; name*1="ken"', b"forged"),
    "a name within a file's name": (NAME + b'; filename="x; name=token"', b"forged"),
    "a name after an escaped quote": (NAME + rb'; filename="x\"; name=\"token"', b"forged"),
    "a name with white space": (NAME + b'; filename="a"; na\tme=token', b"forged"),
    "a name before a no-break space": (NAME + b"; name\xc2\xa0=token", b"forged"),
    "a name before a wide space": (NAME + '; name\u3000="token"'.encode(), b"forged"),
    "a name before a next line": (NAME + b"; name\x85=token", b"forged"),
    "a name around a no-break space": (NAME + b"; \xc2\xa0name=token", b"forged"),
    "a no-break space after an escaped quote": (NAME + b'; filename="x\\"; name\xc2\xa0="token"', b"forged"),
    "a name folded before the sign": (NAME + b"; name\r\n =token", b"forged"),
    "a continued name, folded": (NAME + b"; name*0\r\n =token", b"forged"),
    "a no-break space after the field's name": (b'Content-Disposition: form-data; name="token\xc2\xa0"', b"forged"),
    "a wide space before a file's field": ('Content-Disposition: form-data; name="\u3000token"; size=4'.encode(), b"forged"),
    "a fold before a semicolon": (NAME + b'\r\n ; filename="a.txt"', b"forged"),
    "a fold in a file's name": (NAME + b'; filename="a\r\n b.txt"', b"forged"),
    "letters of another script": (NAME + '; n\u0430me="token"'.encode(), b"forged"),
    "a name in quotes": (NAME + b'; "name"="token"', b"forged"),
    "a file's name first": (b'Content-Disposition: form-data; filename="token"; name="x"', b"forged"),
    "an extended name alone": (b"Content-Disposition: form-data; name*=utf-8''token", b"forged"),
    "an encoded name": (b'Content-Disposition: form-data; name="=?utf-8?B?dG9rZW4=?="; x', b"forged"),
    "an escaped name": (rb'Content-Disposition: form-data; name="to\ken"; x', b"forged"),
    "no name": (b'Content-Disposition: form-data; filename="token"', b"forged"),
    "an empty name": (b'Content-Disposition: form-data; name=""; filename="token"', b"forged"),
    "no disposition": (b"Content-ID: token", b"forged"),
    "two dispositions": (FILE + b'\r\nContent-Disposition: form-data; name="token"', b"forged"),
    "a disposition in another header": (NAME + b'; x\r\nX-A: Content-Disposition: form-data; name="token"', b"forged"),
    "a disposition after white space": (NAME + b'\r\n Content-Disposition: form-data; name="token"', b"forged"),
    "a line without a colon": (NAME + b"\r\n; name=token", b"forged"),
    "a bare line feed": (NAME + b"; x\nContent-Type: text/plain; name=token", b"forged"),
    "a NUL byte": (NAME + b'; filename="\0"; name=token', b"forged"),
    "a nested field": (NESTED, b"--inner\r\n" + FORGED + b"\r\n--inner--"),
    "a field after nested parts": (NESTED, NESTED_END + FORGED),
    "a field in a mail": (FILE + b"\r\nContent-Type: message/rfc822", FORGED),
    "a field in a nested mail with LF": (FILE + b"\r\nContent-Type: message/rfc822", FORGED.replace(b"\r\n", b"\n")),
    "a length": (FILE + b"\r\nContent-Length: 3", b"forged"),
    "a charset of all fields": (b'Content-Disposition: form-data; name="_charset_"', b"utf-16"),
}


def part(head: bytes, value: bytes) -> bytes:
    return DELIMITER + b"\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


def signed_fields(secret: str) -> dict:
    """The signed fields of a delivery of now, with a token of its own."""
    stamp, token = str(int(time.time())), uuid.uuid4().hex
    code = hmac.new(secret.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    return {"timestamp": stamp, "token": token, "signature": code}


def form(fields: dict, *parts: bytes, after: bool = False) -> bytes:
    """A form with these fields, and with more parts before or after them."""
    own = [part(f'Content-Disposition: form-data; name="{name}"'.encode(), value.encode()) for name, value in fields.items()]
    return b"".join([*own, *parts] if after else [*parts, *own]) + DELIMITER + b"--\r\n"
