"""Signatures by the real ssh-keygen."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pairbench.errors import InvalidSubmission
from pairbench.submission.signature import sign, signer

pytestmark = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed"
)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=60
    )
    return path


def test_a_signature_names_its_key_and_is_valid_for_its_bytes_only(
    tmp_path: Path, key: Path
) -> None:
    bundle = tmp_path / "mine.bundle"
    bundle.write_bytes(b"all the pairs")
    signature = sign(bundle, key)
    assert signature.name == "mine.bundle.sig"
    told = subprocess.run(
        ["ssh-keygen", "-l", "-f", f"{key}.pub"], check=True, capture_output=True, text=True
    )
    assert signer(b"all the pairs", signature) in told.stdout
    with pytest.raises(InvalidSubmission, match=r"mine.bundle.sig does not sign this bundle"):
        signer(b"other pairs", signature)
    # Signing again does not ask whether to overwrite.
    assert sign(bundle, key) == signature


def test_a_signature_of_another_namespace_is_refused(tmp_path: Path, key: Path) -> None:
    bundle = tmp_path / "mine.bundle"
    bundle.write_bytes(b"all the pairs")
    command = ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", str(key), str(bundle)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(InvalidSubmission, match="does not sign this bundle"):
        signer(b"all the pairs", tmp_path / "mine.bundle.sig")


def test_signing_without_a_key_fails(tmp_path: Path) -> None:
    bundle = tmp_path / "mine.bundle"
    bundle.write_bytes(b"all the pairs")
    with pytest.raises(InvalidSubmission, match="cannot sign with"):
        sign(bundle, tmp_path / "no-key")
