"""A host that is replaced by another at the same address, under load."""

import threading
import time

import grpc
from client import Client
from host import STOP_SECONDS

CLIENTS = 12
REPLACEMENTS = 4
# Calls of each client between two replacements, so that every one has a connection to what is there.
CALLS_BETWEEN = 20
PATIENCE_SECONDS = 60


class Load(threading.Thread):
    """A client with a connection of its own that places orders until told to stop."""

    def __init__(self, address):
        super().__init__(daemon=True)
        # Without a pool of its own, a channel shares its connection with the others of the process.
        self.channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.stopping = threading.Event()
        self.placed = 0
        self.failures = []

    def run(self):
        shop = Client(self.channel)
        while not self.stopping.is_set():
            try:
                shop.place()
                self.placed += 1
            except grpc.RpcError as error:
                self.failures.append((error.code(), error.details()))
        self.channel.close()


def go_on(clients):
    """Waits until every client has placed some more orders."""
    goals = [client.placed + CALLS_BETWEEN for client in clients]
    for _ in range(PATIENCE_SECONDS * 20):
        if all(client.placed >= goal for client, goal in zip(clients, goals)):
            return
        time.sleep(0.05)
    raise AssertionError([(client.placed, client.failures[:3]) for client in clients])


def stop(clients):
    """Ends the load, in which nothing may have failed."""
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join(PATIENCE_SECONDS)
    assert [client.failures for client in clients if client.failures] == []


def test_a_host_is_replaced_under_load_without_a_failed_call(start):
    server = {"reuse_port": True}
    old = start(server=server)
    clients = [Load(old.address) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    go_on(clients)
    for _ in range(REPLACEMENTS):
        new = start(server=server, address=old.address)
        old.process.terminate()
        assert old.process.wait(STOP_SECONDS) == 0, old.log_text()
        go_on(clients)
        old = new
    stop(clients)
    assert sum(client.placed for client in clients) >= CLIENTS * CALLS_BETWEEN * (REPLACEMENTS + 1)


def test_a_second_host_needs_reuse_port_at_both(start):
    host = start(server={"reuse_port": True})
    try:
        start(server={"reuse_port": False}, address=host.address)
    except AssertionError as refused:
        assert "is in use" in str(refused)
    else:
        raise AssertionError("two hosts listen at one address unasked")


def test_connections_that_are_sent_away_fail_no_call(start):
    host = start(server={"max_connection_age_s": 1})
    clients = [Load(host.address) for _ in range(4)]
    for client in clients:
        client.start()
    # Each connection reaches its age several times.
    end = time.monotonic() + 4
    while time.monotonic() < end:
        go_on(clients)
    stop(clients)
