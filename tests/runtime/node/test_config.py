"""The configuration of a node is checked before anything starts."""

import shutil
import socket
import subprocess

import pytest

from tests.conftest import REPOSITORY
from tests.runtime.node.node_process import PACS, FakePacs, Node, free_port
from wmh_runtime.cli.node import main
from wmh_runtime.errors import InputError
from wmh_runtime.node.config import read_config

WHOLE = """
folder = "/var/lib/wmh-node"
[listen]
ae_title = "WMH"
allowed = ["PACS"]
[results]
folder = "/srv/results"
"""


def config(tmp_path, text):
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


def test_the_shortest_configuration_has_safe_defaults(tmp_path):
    found = read_config(config(tmp_path, WHOLE))
    assert found.listen.port == 11112
    assert found.study.quiet_s == 60
    assert found.study.complete_on_release is False
    assert found.model.bundle == "base"
    assert found.min_free_bytes == 2_000_000_000


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('folder = "/var/lib/wmh-node"', "", "folder is missing"),
        ('"/var/lib/wmh-node"', '"queue"', "folder: got queue, expected an absolute path"),
        ('["PACS"]', "[]", "listen.allowed: got [], expected 1 or more"),
        ('["PACS"]', '"PACS"', "listen.allowed: got 'PACS', expected a list"),
        ("[listen]", "[listen]\nport = 8042", "listen.port and status.port are the same"),
        ('"/srv/results"', '"/var/lib/wmh-node"', "results.folder is the folder of the queue"),
        (
            '"WMH"',
            '"a title that is too long"',
            "listen.ae_title: got 'a title that is too long', expected 1 to 16 characters",
        ),
        ("[results]", "[results]\ncolour = 1", "results.colour is unknown"),
        ('folder = "/srv/results"', "", "results: needs a destination or a folder"),
        ("[listen]", "[listen", "is no TOML ("),
        ("[listen]", "[study]\nquiet_s = -1\n[listen]", "study.quiet_s: got -1, expected greater"),
        (
            "[results]",
            '[model]\nprecision = "fp64"\n[results]',
            "model.precision: got 'fp64', expected",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, problem):
    path = config(tmp_path, WHOLE.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        read_config(path)
    assert problem in str(caught.value)
    assert str(path) in str(caught.value)


def test_two_destinations_have_different_names(tmp_path):
    one = '[[results.destinations]]\nname = "a"\nae_title = "A"\nhost = "h"\nport = 104\n'
    with pytest.raises(InputError, match="two destinations have the same name"):
        read_config(config(tmp_path, WHOLE + one + one))


def test_a_file_that_is_missing_is_named(tmp_path, run_command):
    status, _, errors = run_command(main, tmp_path / "none.toml")
    assert status == 2
    assert "none.toml: cannot be read (No such file or directory)" in errors


def test_the_example_of_the_containers_is_valid():
    read_config(REPOSITORY / "containers" / "wmh-node.toml")


def test_a_check_opens_the_model_and_asks_the_destinations(tmp_path, toy_bundle, run_command):
    pacs = FakePacs(free_port())
    node = Node(tmp_path / "node", toy_bundle, {"pacs": pacs.port})
    with pacs.listening():
        status, said, _ = run_command(main, node.config, "--check")
    assert status == 0
    lines = said.splitlines()
    assert lines[2].startswith("model toy runs on onnxruntime")
    assert lines[3] == "destination pacs answers, and takes the results"


def test_a_check_names_what_a_destination_does_not_take(tmp_path, toy_bundle, run_command):
    pacs = FakePacs(free_port(), without="Segmentation Storage")
    node = Node(tmp_path / "node", toy_bundle, {"pacs": pacs.port})
    with pacs.listening():
        status, _, errors = run_command(main, node.config, "--check")
    assert status == 2
    assert "destination pacs: does not take Segmentation Storage. Let it take them" in errors


def test_a_check_names_a_computer_that_is_not_known(tmp_path, toy_bundle, run_command):
    node = Node(tmp_path / "node", toy_bundle, {"pacs": free_port()})
    head, _, tail = node.config.read_text().rpartition('host = "127.0.0.1"')
    node.config.write_text(f'{head}host = "no.such.host.invalid"{tail}')
    status, _, errors = run_command(main, node.config, "--check")
    assert status == 2
    assert "destination pacs: no.such.host.invalid cannot be used (" in errors


def test_a_check_names_a_destination_that_does_not_answer(tmp_path, toy_bundle, run_command):
    node = Node(tmp_path / "node", toy_bundle, {"pacs": free_port()})
    status, _, errors = run_command(main, node.config, "--check")
    assert status == 2
    assert "destination pacs: does not answer at 127.0.0.1, port" in errors


def test_two_nodes_cannot_use_one_queue(tmp_path, toy_bundle, run_command):
    node = Node(tmp_path / "node", toy_bundle)
    with node:
        status, _, errors = run_command(main, node.config)
    assert status == 2
    assert "another run writes to it" in errors
    assert PACS not in errors


def test_a_port_that_is_in_use_is_named(tmp_path, toy_bundle, run_command):
    first = Node(tmp_path / "first", toy_bundle)
    second = Node(tmp_path / "second", toy_bundle)
    text = second.config.read_text().replace(str(second.port), str(first.port))
    second.config.write_text(text)
    with first:
        status, _, errors = run_command(main, second.config)
    assert status == 2
    assert f"port {first.port} cannot be used (Address already in use)" in errors


needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


@pytest.fixture
def certificates(tmp_path):
    """A certificate of an authority of its own, for 127.0.0.1; and one of a stranger."""
    for name in ("node", "stranger"):
        command = (
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
            f" -addext subjectAltName=IP:127.0.0.1 -keyout {tmp_path}/{name}.key"
            f" -out {tmp_path}/{name}.pem"
        )
        subprocess.run(command.split(), check=True, capture_output=True)
    return tmp_path


@needs_openssl
def test_with_tls_only_who_has_a_certificate_of_the_authority_is_heard(
    tmp_path, toy_bundle, certificates
):
    from tests.runtime.node.node_process import CALLER, NODE, sender
    from wmh_runtime.node.config import Tls
    from wmh_runtime.node.tls import client_context

    def answers(name):
        authority = certificates / "node.pem"
        tls = Tls(
            certificate=certificates / f"{name}.pem",
            key=certificates / f"{name}.key",
            authority=authority,
        )
        association = sender(CALLER).associate(
            "127.0.0.1", node.port, ae_title=NODE, tls_args=(client_context(tls), "127.0.0.1")
        )
        if not association.is_established:
            return False
        association.release()
        return True

    files = {"certificate": "node.pem", "key": "node.key", "authority": "node.pem"}
    values = ", ".join(f'{name} = "{certificates / file}"' for name, file in files.items())
    node = Node(tmp_path / "node", toy_bundle, more={"listen": [f"tls = {{ {values} }}"]})
    node.answers = lambda: answers("node")
    with node, socket.create_connection(("127.0.0.1", node.port)):  # which says nothing
        assert answers("node")
        assert not answers("stranger")
        assert node.stop() == 0
