"""A stock client and TLS: whom it trusts, and files that are replaced while it calls."""

import os
import pathlib
import ssl
import threading
import time

import grpc
import pytest
from certificates import Authority, write_host_files
from client import Client, an_order, refused
from grpc import StatusCode
from test_auth import STRICT, Issuer, bearing

ROTATIONS = 5
# Calls of each client between two rotations.
CALLS_BETWEEN = 20
PATIENCE_SECONDS = 60


def trusting(authority):
    return grpc.ssl_channel_credentials(authority.pem)


def test_the_client_trusts_whom_it_is_told_to(start, tmp_path):
    authority = Authority("the host's")
    server = write_host_files(tmp_path / "tls", authority)
    host = start({}, server=server, credentials=trusting(authority))
    shop = Client(host.channel)
    assert shop.place().order_id
    with host.secure_channel(trusting(Authority("someone else's"))) as channel:
        refused(Client(channel).CreateOrder, an_order(), StatusCode.UNAVAILABLE)
    # By the name of its address, which the certificate does not have.
    with grpc.secure_channel(host.address, trusting(authority)) as channel:
        refused(Client(channel).CreateOrder, an_order(), StatusCode.UNAVAILABLE)
    with grpc.insecure_channel(host.address) as channel:
        refused(Client(channel).CreateOrder, an_order(), StatusCode.UNAVAILABLE)
    assert shop.place().order_id


@pytest.mark.parametrize("shows", [True, False])
def test_a_certificate_may_be_optional(start, tmp_path, shows):
    authority, clients = Authority("the host's"), Authority("the clients'")
    server = write_host_files(tmp_path / "tls", authority)
    (tmp_path / "clients.pem").write_bytes(clients.pem)
    server |= {"tls_client_ca": str(tmp_path / "clients.pem"), "tls_client_auth": "optional"}
    key, certificate = clients.issue("batch")
    credentials = grpc.ssl_channel_credentials(authority.pem, key, certificate) if shows else trusting(authority)
    # The plugin lets nobody order who is not known.
    shop = Client(start(STRICT, server=server, credentials=credentials).channel)
    if shows:
        assert shop.CreateOrder(an_order()).order_id
    else:
        refused(shop.CreateOrder, an_order(), StatusCode.UNAUTHENTICATED)


class Caller(threading.Thread):
    """Places orders until told to stop: on one connection, or each on one of its own."""

    def __init__(self, host, credentials, token, reconnects):
        super().__init__(daemon=True)
        self.host, self.credentials, self.token, self.reconnects = host, credentials, token, reconnects
        self.stopping = threading.Event()
        self.placed = 0
        self.failures = []

    def run(self):
        channel = self.connect()
        while not self.stopping.is_set():
            try:
                Client(channel).CreateOrder(an_order(), metadata=bearing(self.token()))
                self.placed += 1
            except grpc.RpcError as error:
                self.failures.append((error.code(), error.details()))
            if self.reconnects:
                channel.close()
                channel = self.connect()
        channel.close()

    def connect(self):
        # Without a pool of its own, a channel shares its connection with the others of the process.
        options = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(self.host.address, self.credentials, options)


def test_certificates_and_keys_are_replaced_under_load(start, tmp_path):
    authority = Authority("the host's")
    server = write_host_files(tmp_path / "tls", authority)
    issuer = Issuer(tmp_path, "ES256")
    host = start(STRICT, server=server, sections=issuer.section(), credentials=trusting(authority))
    token = issuer.token()
    callers = [Caller(host, trusting(authority), lambda: token, reconnects) for reconnects in [False, True] * 2]
    for caller in callers:
        caller.start()
    for rotation in range(ROTATIONS):
        go_on(callers)
        old = shown(host)
        write_new(tmp_path / "tls", authority)
        # The new key beside the one that signed what is in use; then what it signs is used.
        issuer.renew(f"{rotation}", keeping_the_last=True)
        until(lambda: shown(host) != old)
        until(lambda: host.log_text().count("keys of the issuers read again") > rotation)
        token = issuer.token()
    go_on(callers)
    for caller in callers:
        caller.stopping.set()
    for caller in callers:
        caller.join(PATIENCE_SECONDS)
    assert [caller.failures for caller in callers if caller.failures] == []


def write_new(folder: pathlib.Path, authority):
    """Replaces certificate and key by renaming, one after the other."""
    made = write_host_files(folder / "new", authority)
    for path in made.values():
        os.replace(path, folder / pathlib.Path(path).name)


def shown(host):
    """The certificate that a new connection is shown."""
    address, _, port = host.address.rpartition(":")
    return ssl.get_server_certificate((address, int(port)))


def go_on(callers):
    goals = [caller.placed + CALLS_BETWEEN for caller in callers]
    until(lambda: all(caller.placed >= goal or caller.failures for caller, goal in zip(callers, goals)))


def until(done):
    end = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
