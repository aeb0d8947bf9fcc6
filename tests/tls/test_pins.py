import base64
import hashlib
from pathlib import Path

import pytest
from certificates import make_certificate
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from filetransfer.tls.pins import find_pin, read_pin, write_pin

DIGEST = hashlib.sha256(b"key").digest()
BASE64 = base64.b64encode(DIGEST).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"sha256:{BASE64}",
        f"sha256:{DIGEST.hex()}",
        f"sha256:{DIGEST.hex().upper()}",
        f"sha256//{BASE64}",
    ],
)
def test_ways_to_write_a_pin(text: str) -> None:
    assert read_pin(text) == DIGEST
    assert read_pin(write_pin(read_pin(text))) == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        BASE64,
        f"sha1:{BASE64}",
        f"sha256:{BASE64[:-4]}",
        f"sha256:{BASE64}x",
        "sha256:é",
    ],
)
def test_what_is_no_pin(text: str) -> None:
    with pytest.raises(ValueError, match="is no pin"):
        read_pin(text)


def test_a_pin_is_that_of_the_key(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    renewed = make_certificate(tmp_path, key=made.key)
    info = made.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (
        find_pin(made.certificate) == find_pin(renewed.certificate) == hashlib.sha256(info).digest()
    )
    assert find_pin(make_certificate(tmp_path).certificate) != find_pin(made.certificate)
