"""The messages between the processes of a job: JSON of bounded size, signed with the job's secret.

Whoever reaches the coordinator's port can send messages. JSON holds plain values alone, so that a
stranger's message can't run code. Where the processes have a secret in their environment, a
message without its signature is refused.
"""

import hashlib
import hmac
import json
import os
from typing import Any

from vgg_jax.errors import UserError

# The environment variable with the job's secret. It is the same text in all processes of a job.
SECRET = "VGG_JAX_JOB_SECRET"

MAX_BYTES = 2**28  # ImageNet's sizes take 2 MB.

_SIGNATURE_BYTES = hashlib.sha256().digest_size


def encode(name: str, value: Any) -> bytes:
    """Returns a message.

    Args:
      name: The message's name, which is signed too, so that no other message can take its place.
      value: None, a bool, an int, a float or a str, or lists and dicts of these.

    Raises:
      TypeError: The value is none of these.
      ValueError: The message is larger than `MAX_BYTES`.
    """
    text = json.dumps(value).encode()
    if len(text) > MAX_BYTES:
        raise ValueError(f"A message of {len(text):,} bytes is more than {MAX_BYTES:,}.")
    return _signature(name, text) + text


def decode(name: str, message: bytes) -> Any:
    """Returns the value of a message. A tuple has become a list.

    Raises:
      UserError: The message is not one of this job's.
    """
    signature, text = message[:_SIGNATURE_BYTES], message[_SIGNATURE_BYTES:]
    if len(text) > MAX_BYTES:
        raise refusal(f"it has {len(text):,} bytes")
    if not hmac.compare_digest(signature, _signature(name, text)):
        raise refusal("its signature is wrong")
    try:
        return json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise refusal("it is not JSON") from error


def _signature(name: str, text: bytes) -> bytes:
    # Without a secret this is a checksum, which strangers can compute too.
    secret = os.environ.get(SECRET, "").encode("utf-8", "surrogateescape")
    return hmac.digest(secret, name.encode() + b"\0" + text, "sha256")


def refusal(reason: str) -> UserError:
    """Makes the error about a message that isn't one of this job, for example from a stranger."""
    return UserError(
        f"A message to this process is not one of its job ({reason}). Close the port of the job's "
        f"first process to all but the job's hosts, and give all processes the same {SECRET}, or "
        "none."
    )
