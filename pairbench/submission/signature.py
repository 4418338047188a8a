"""Signatures of bundles by SSH keys, made and checked by OpenSSH's ``ssh-keygen``."""

import re
import subprocess
from pathlib import Path

from pairbench.errors import InvalidSubmission

NAMESPACE = "pairbench-bundle"
"""What is signed, so that a signature of something else does not pass for one of a bundle."""

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


def sign(bundle: Path, key: Path) -> Path:
    """Sign a bundle's file.

    Args:
        bundle: the file.
        key: the private key, or the public one of a key that the SSH agent holds.

    Returns:
        The signature's file, the bundle's name with ``.sig``.

    Raises:
        InvalidSubmission: If there is no ``ssh-keygen``, or it does not sign.
    """
    signature = bundle.with_name(f"{bundle.name}.sig")
    signature.unlink(missing_ok=True)  # ssh-keygen would ask
    _ssh_keygen(["sign", "-f", str(key), str(bundle)], f"cannot sign with {key}")
    return signature


def signer(data: bytes, signature: Path) -> str:
    """The fingerprint of the key that signed a bundle.

    Args:
        data: the bundle's bytes.
        signature: the signature's file.

    Returns:
        As GitHub and ``ssh-keygen -l`` show it, ``"SHA256:…"``. Whose key that is, is for the
        reader to know.

    Raises:
        InvalidSubmission: If the signature is not one of these bytes.
    """
    said = _ssh_keygen(
        ["check-novalidate", "-s", str(signature)], f"{signature.name} does not sign it", data
    )
    found = _FINGERPRINT.search(said)
    if found is None:
        raise InvalidSubmission(f"{signature.name}: ssh-keygen names no key: {said.strip()}")
    return found[0]


def _ssh_keygen(arguments: list[str], failure: str, data: bytes = b"") -> str:
    action, *rest = arguments
    try:
        done = subprocess.run(
            ["ssh-keygen", "-Y", action, "-n", NAMESPACE, *rest], input=data, capture_output=True
        )
    except FileNotFoundError as error:
        raise InvalidSubmission(
            "signatures need ssh-keygen, which comes with OpenSSH (apt install openssh-client)."
        ) from error
    if done.returncode:
        raise InvalidSubmission(f"{failure}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="replace")
