"""Signatures of bundles by SSH keys, made and checked by OpenSSH's ``ssh-keygen``."""

import re
import subprocess
from pathlib import Path

from pairbench.errors import InvalidSubmission

NAMESPACE = "pairbench-bundle"
"""Namespace of the signatures, so that a key's signature of other data is not accepted."""

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


def sign(bundle: Path, key: Path) -> Path:
    """Sign a bundle's file.

    Args:
        bundle: path of the bundle.
        key: path of the private key, or of the public key of one that the SSH agent holds.

    Returns:
        Path of the signature: the bundle's name with ``.sig`` appended.

    Raises:
        InvalidSubmission: If ``ssh-keygen`` is missing or cannot sign.
    """
    signature = bundle.with_name(f"{bundle.name}.sig")
    signature.unlink(missing_ok=True)  # or ssh-keygen asks whether to overwrite it
    _ssh_keygen(["sign", "-f", str(key), str(bundle)], f"cannot sign with {key}")
    return signature


def signer(data: bytes, signature: Path) -> str:
    """Check a bundle's signature and return the fingerprint of the key that made it.

    The signature shows which key signed, not whose key that is: the reader has to know the key.

    Args:
        data: content of the bundle's file.
        signature: path of the signature.

    Returns:
        The fingerprint as GitHub and ``ssh-keygen -l`` show it, ``"SHA256:…"``.

    Raises:
        InvalidSubmission: If the signature is not a valid signature of these bytes.
    """
    output = _ssh_keygen(
        ["check-novalidate", "-s", str(signature)],
        f"{signature.name} does not sign this bundle",
        data,
    )
    match = _FINGERPRINT.search(output)
    if match is None:
        raise InvalidSubmission(
            f"{signature.name}: expected a key's fingerprint SHA256:… from ssh-keygen, got: "
            f"{output.strip()}"
        )
    return match[0]


def _ssh_keygen(arguments: list[str], failure: str, data: bytes = b"") -> str:
    """Run ``ssh-keygen -Y`` in our namespace on input data and return what it prints."""
    action, *options = arguments
    try:
        process = subprocess.run(
            ["ssh-keygen", "-Y", action, "-n", NAMESPACE, *options], input=data, capture_output=True
        )
    except FileNotFoundError as error:
        raise InvalidSubmission(
            "signatures need ssh-keygen, which comes with OpenSSH (apt install openssh-client)."
        ) from error
    if process.returncode:
        raise InvalidSubmission(f"{failure}: {process.stderr.decode(errors='replace').strip()}")
    return process.stdout.decode(errors="replace")
