"""Messages between processes: what strangers send is refused, and never run."""

import hmac
import json
import pickle
import sys

import numpy as np
import pytest
import small_runs

from vgg_jax.errors import UserError
from vgg_jax.system import messages

VALUES = [None, True, 7, 0.1, "ü \udcff", [1, ["a"]], {"a": {"b": [None]}}, "x" * 10**6]


@pytest.fixture(params=["", "a secret"])
def secret(request, monkeypatch):
    monkeypatch.setenv(messages.SECRET, request.param)
    return request.param


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_a_message_arrives_as_it_was_sent(secret, value):
    assert messages.decode("name", messages.encode("name", value)) == value


@pytest.mark.parametrize("value", [np.int64(1), np.zeros(2), b"bytes", {1, 2}, object()])
def test_no_other_values_are_sent(value):
    with pytest.raises(TypeError):
        messages.encode("name", value)


class Runs:
    def __reduce__(self):
        return (pytest.fail, ("a stranger's code runs",))


def signed(text, name="name"):
    """Signs a text as a stranger without the secret can."""
    return hmac.digest(b"", name.encode() + b"\0" + text, "sha256") + text


STRANGE = {
    "empty": b"",
    "short": b"\0" * 31,
    "garbage": bytes(range(256)),
    "pickle": pickle.dumps(Runs()),
    "signed pickle": signed(pickle.dumps(Runs())),
    "signed garbage": signed(b"\xff\0{"),
    "nothing, signed": signed(b""),
    "deep": signed(b"[" * 10**5),
    "long number": signed(b"9" * 10**5),
}


@pytest.mark.parametrize("message", STRANGE.values(), ids=STRANGE)
def test_what_a_stranger_sends_is_refused(secret, message):
    with pytest.raises(UserError, match="is not one of its job"):
        messages.decode("name", message)


def test_messages_are_bounded(monkeypatch):
    monkeypatch.setattr(messages, "MAX_BYTES", 10)
    assert messages.decode("name", messages.encode("name", [1] * 3)) == [1] * 3
    with pytest.raises(ValueError, match="12 bytes"):
        messages.encode("name", [1] * 4)
    with pytest.raises(UserError, match="it has 12 bytes"):
        messages.decode("name", signed(json.dumps([1] * 4).encode()))


def test_without_the_secret_nothing_can_be_sent(monkeypatch):
    message = messages.encode("name", "value")
    with pytest.raises(UserError, match="signature"):
        messages.decode("other name", message)
    monkeypatch.setenv(messages.SECRET, "a secret")
    with pytest.raises(UserError, match="signature"):
        messages.decode("name", message)


# A stranger in the place of the first process, which sends bytes of its own and waits.
STRANGER = """
import os, pathlib, time
import jax
from jax._src import distributed
jax.distributed.initialize(os.environ["JAX_COORDINATOR_ADDRESS"], 2, 0)
jax.devices()
for path in pathlib.Path(os.environ["MESSAGES"]).iterdir():
    name = f"vgg_jax/{path.name}"
    distributed.global_state.client.key_value_set_bytes(name, path.read_bytes())
time.sleep(60)
"""

# It awaits two messages without a secret, and one with a secret, whose error ends it.
OURS = """
import os, sys
from vgg_jax.errors import UserError
from vgg_jax.system import command_line, messages, processes
def receive():
    print("received", processes.from_first(lambda: sys.exit("not the first process")))
def main(argv):
    with processes.joined():
        for _ in range(2):
            try:
                receive()
            except UserError as error:
                print("error:", error, file=sys.stderr)
        os.environ[messages.SECRET] = "a secret"
        receive()
command_line.run(main)
"""


def beside_stranger(tmp_path, sent, code, *arguments):
    """Runs a program that ends with an error, because a stranger sends it messages.

    Returns what it has printed, and the errors.
    """
    small_runs.fill(tmp_path, {f"messages/{i}": message for i, message in enumerate(sent)})
    stranger, ours = small_runs.start_processes(
        2,
        1,
        lambda i: (STRANGER, code)[i],
        *arguments,
        command=(sys.executable, "-c"),
        **{"MESSAGES": str(tmp_path / "messages"), messages.SECRET: ""},
    )
    try:
        output, errors = ours.communicate(timeout=60)
    finally:
        stranger.kill()
        stranger.communicate()
    assert ours.returncode == 2, errors
    assert "Traceback" not in errors
    return output, errors


@pytest.mark.runs
def test_a_stranger_in_the_place_of_the_first_process(tmp_path):
    ran = tmp_path / "ran"
    code = f"cos\nsystem\n(S'touch {ran}'\ntR.".encode()
    pickle.loads(code)
    assert ran.exists()  # This is what a pickle does.
    ran.unlink()
    sent = {"pickle": code, "huge": b"\0" * 2**20 * 5, "JSON": signed(b"null", "vgg_jax/2")}
    output, errors = beside_stranger(tmp_path, sent.values(), OURS)
    assert "received" not in output
    assert errors.count("error: A message to this process is not one of its job") == len(sent)
    assert not ran.exists()


# What arrives from the first process is used in these ways.
USES = """
import pathlib, sys
import numpy as np
from vgg_jax.data import decodable
from vgg_jax.data.specs import DataSpec, ScanOptions
from vgg_jax.data.splits import open_val_source
from vgg_jax.errors import UserError
from vgg_jax.system import command_line, processes
def main(argv):
    _, probed, folder = argv
    with processes.joined():
        for _ in range(2):
            try:
                processes.make_shared(pathlib.Path(probed))
            except UserError as error:
                print("error:", error, file=sys.stderr)
        source = open_val_source(DataSpec("folder", folder, "train", "val", folder))
        decodable.one_split(source, "validation", ScanOptions(folder, "refuse", 0))
command_line.run(main)
"""


@pytest.mark.runs
def test_what_a_stranger_sends_in_another_form(folder, tmp_path):
    """Without a secret, anyone can sign. Two probes of a folder and the images' sizes are sent."""
    kept = tmp_path / "kept"
    kept.touch()
    texts = [json.dumps(value).encode() for value in (str(kept), [1], "eJw=")]
    sent = [signed(text, f"vgg_jax/{number}") for number, text in enumerate(texts)]
    _, errors = beside_stranger(tmp_path, sent, USES, tmp_path, folder)
    refused = "error: A message to this process is not one of its job (it has another form than "
    assert errors.count(refused) == len(sent)
    assert kept.exists()


# The first process connects to its own port as strangers would, while the job goes on.
VISITED = r"""
import contextlib, os, pickle, socket, struct, threading, time
from vgg_jax.system import command_line, processes

HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SENT = [
    b"", os.urandom(5000), pickle.dumps(list(range(99))), b"GET / HTTP/1.0\r\n\r\n",
    struct.pack(">Q", 2**63), HTTP2 + b"\xff" * 9, HTTP2 + b"\xff\xff\xff" + b"\0" * 6, HTTP2,
]
host, port = os.environ["JAX_COORDINATOR_ADDRESS"].split(":")
strangers = []

def send_slowly(stranger):
    with contextlib.suppress(OSError):
        for byte in HTTP2 * 9:
            time.sleep(0.1)
            stranger.send(bytes([byte]))

def visit():
    for data in SENT * 3:
        strangers.append(socket.create_connection((host, port)))
        strangers[-1].sendall(data)
    threading.Thread(target=send_slowly, args=strangers[-1:], daemon=True).start()
    time.sleep(1)
    return "x" * 10**7

def main(argv):
    with processes.joined():
        for _ in range(2):
            print("received", len(processes.from_first(visit)))
command_line.run(main)
"""


@pytest.mark.runs
def test_strangers_at_the_port_do_not_disturb_a_job():
    command = (sys.executable, "-c", VISITED)
    for status, output, errors in small_runs.ends(
        small_runs.start_processes(2, 1, command=command)
    ):
        assert status == 0, errors
        assert output.count("received 10000000") == 2
        assert "Traceback" not in errors
