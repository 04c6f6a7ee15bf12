"""Fixtures: stubs made from the proto, and hosts."""

import pathlib
import sys
import tempfile

import pytest
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]

# The stubs must exist before the test modules are imported. They live as long as the test run.
_stubs = tempfile.TemporaryDirectory(prefix="mortise-stubs-")
_failed = protoc.main(
    [
        "protoc",
        f"-I{ROOT / 'proto'}",
        f"--python_out={_stubs.name}",
        f"--grpc_python_out={_stubs.name}",
        "order/v1/order.proto",
    ]
)
if _failed:
    raise RuntimeError(f"protoc failed with {_failed}")
sys.path.insert(0, _stubs.name)

from client import Client  # noqa: E402
from host import Host  # noqa: E402

# Identities come from `user-id`, and everything else is at its default.
SHOP = {"region": "eu-test", "trust_user_id": True}


@pytest.fixture(scope="session")
def shop_host(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp("shop"), SHOP)
    yield host
    host.stop()


@pytest.fixture
def shop(shop_host):
    """A client of a shop with a region that trusts `user-id`. Tests share its host: use own customers."""
    return Client(shop_host.channel)


@pytest.fixture
def start(tmp_path):
    """Starts hosts of the test's own: `start(config=…, data=…, server=…)`. They are stopped with the test."""
    hosts = []

    def start(config=None, **options) -> Host:
        host = Host(tmp_path / f"host-{len(hosts)}", config, **options)
        hosts.append(host)
        return host

    yield start
    for host in hosts:
        if host.process.poll() is None:
            host.stop()
