"""A strict S3 over TLS: verifies signatures and checksums, enforces rules of buckets, and lets moto do the rest.

with strict_s3(folder) as strict:
    strict.rules.owner = "123456789012"
    strict.server.client().create_bucket(Bucket="models")
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import ssl
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.faulty_proxy import Answer, Exchange, FaultyProxy, Request, error_body, faulty_proxy
from tests.s3_server import CREDENTIALS, S3Server, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REGION = CREDENTIALS["AWS_DEFAULT_REGION"]
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]+)"
)
_PART = re.compile(r"<Part>(.*?)</Part>", re.DOTALL)
_CHECKSUM = "x-amz-checksum-crc32"


@dataclass
class Rules:
    """What is enforced besides signatures and checksums; empty fields are not.

    Attributes:
        keys: secret by access key.
        region: of every bucket: requests signed for another are refused as S3 does it, with the right one.
        owner: account that owns every bucket.
        creating: headers that each request that makes an object has to have, as by a bucket policy.
        always: headers that every request for an object has to have.
        access_points: bucket by the first label of the host name.
        hosts: host names that were asked for.
    """

    keys: dict[str, str] = field(
        default_factory=lambda: {CREDENTIALS["AWS_ACCESS_KEY_ID"]: CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}
    )
    region: str = ""
    owner: str = ""
    creating: dict[str, str] = field(default_factory=dict)
    always: dict[str, str] = field(default_factory=dict)
    access_points: dict[str, str] = field(default_factory=dict)
    hosts: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Strict:
    """The server, its rules, which can be changed while it runs, and what it was asked."""

    server: S3Server
    rules: Rules
    proxy: FaultyProxy


class _RefusedError(Exception):
    def __init__(self, status: int, code: str, more: str = "") -> None:
        super().__init__(code)
        self.answer = Answer(status, {"Content-Type": "application/xml"}, error_body(code, more))


@contextmanager
def strict_s3(folder: Path) -> Iterator[Strict]:
    """Listen on a free port until the block ends; the certificate is kept in `folder`."""
    certificate = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    rules, parts = Rules(), dict[tuple[str, str], str]()

    def answer(exchange: Exchange, request: Request) -> None:
        try:
            exchange.reply(exchange.pass_on(_checked(request, rules, parts)))
        except _RefusedError as refused:
            exchange.reply(refused.answer)

    with s3_server() as moto, faulty_proxy(moto.endpoint_url, tls=context, usually=answer) as proxy:
        server = S3Server(proxy.endpoint_url.replace("127.0.0.1", "localhost"), moto.process_id, ca=str(certificate))
        yield Strict(server, rules, proxy)


def _checked(request: Request, rules: Rules, parts: dict[tuple[str, str], str]) -> Request:
    """The request as moto is to get it."""
    _verify_signature(request, rules)
    _verify_body(request, parts)
    headers = request.headers
    on_object = request.operation.endswith(("Object", "Part", "Upload"))
    if rules.owner and headers.get("x-amz-expected-bucket-owner", rules.owner) != rules.owner:
        raise _RefusedError(403, "AccessDenied")
    making = rules.creating if request.operation in {"PutObject", "CreateMultipartUpload"} else {}
    wanted = {**making, **(rules.always if on_object else {})}
    if not wanted.items() <= headers.items():
        raise _RefusedError(403, "AccessDenied")
    return _of_bucket(request, rules)


def _of_bucket(request: Request, rules: Rules) -> Request:
    """With the bucket in the path, where an access point stands in the host name."""
    host = request.headers["host"].partition(":")[0]
    rules.hosts.add(host)
    bucket = rules.access_points.get(host.partition(".")[0])
    if bucket is None:
        return request
    return replace(request, target=f"/{bucket}{request.target}", headers={**request.headers, "host": "localhost"})


# -- signatures: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html -----------------------


def _verify_signature(request: Request, rules: Rules) -> None:
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        raise _RefusedError(403, "AccessDenied")
    key_id, day, region, signed, signature = found.groups()
    if key_id not in rules.keys:
        raise _RefusedError(403, "InvalidAccessKeyId")
    if rules.region and region != rules.region:
        raise _RefusedError(400, "AuthorizationHeaderMalformed", f"<Region>{rules.region}</Region>")
    if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed.split(";")):
        raise _RefusedError(403, "AccessDenied")
    text = _text_to_sign(request, f"{day}/{region}/s3/aws4_request", signed)
    key = f"AWS4{rules.keys[key_id]}".encode()
    for word in (day, region, "s3", "aws4_request", text):
        key = hmac.digest(key, word.encode(), "sha256")
    if not hmac.compare_digest(key.hex(), signature):
        raise _RefusedError(403, "SignatureDoesNotMatch")


def _text_to_sign(request: Request, scope: str, signed: str) -> str:
    parts = urlsplit(request.target)
    query = "&".join(sorted(each if "=" in each else f"{each}=" for each in parts.query.split("&") if each))
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed.split(";"))
    payload = request.headers["x-amz-content-sha256"]
    canonical = f"{request.method}\n{parts.path}\n{query}\n{headers}\n{signed}\n{payload}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, digest])


# -- bodies ----------------------------------------------------------------------------------------------------------


def _verify_body(request: Request, parts: dict[tuple[str, str], str]) -> None:
    payload = request.headers["x-amz-content-sha256"]
    if len(payload) == 64 and payload != hashlib.sha256(request.body).hexdigest():
        raise _RefusedError(400, "XAmzContentSHA256Mismatch")
    if request.operation in {"PutObject", "UploadPart"}:
        _verify_checksum(request, parts)
    if "x-amz-copy-source" in request.headers:  # it brings no checksum
        raise _RefusedError(403, "AccessDenied")
    if request.operation == "CreateMultipartUpload" and "x-amz-checksum-algorithm" not in request.headers:
        raise _RefusedError(400, "InvalidRequest")
    if request.operation == "CompleteMultipartUpload":
        _verify_parts(request, parts)


def _verify_checksum(request: Request, parts: dict[tuple[str, str], str]) -> None:
    trailer = re.search(rb"x-amz-checksum-crc32:(\S+)\s*$", request.body[-100:])
    if "x-amz-trailer" in request.headers and trailer:  # as boto3 sends it; in chunks, which moto takes apart
        said = trailer[1].decode()
    else:
        said = request.headers.get(_CHECKSUM, "")
        if not said:
            raise _RefusedError(400, "InvalidRequest")
        if said != base64.b64encode(zlib.crc32(request.body).to_bytes(4, "big")).decode():
            raise _RefusedError(400, "BadDigest")
    query = dict(each.partition("=")[::2] for each in urlsplit(request.target).query.split("&"))
    if "uploadId" in query:
        parts[query["uploadId"], query["partNumber"]] = said


def _verify_parts(request: Request, parts: dict[tuple[str, str], str]) -> None:
    """Each part says the checksum that it came with."""
    upload = re.search(r"uploadId=([^&]*)", request.target)
    for part in _PART.findall(request.body.decode()):
        number = re.search(r"<PartNumber>(\d+)<", part)
        said = re.search(r"<ChecksumCRC32>([^<]*)<", part)
        known = parts.get((upload[1], number[1])) if upload and number else None
        if said is None or known is None or said[1].replace("&#61;", "=") != known:
            raise _RefusedError(400, "InvalidPart")


def _certificate(folder: Path) -> Path:
    """A certificate of its own for this machine's own names, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.DNSName("*.localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "strict-s3.pem"
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return path
