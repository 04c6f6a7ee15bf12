"""Tools that people use with any gRPC server: grpcurl, buf curl, ghz and grpc-health-probe.

`tests/python/tools.sh` installs them and says where; TOOLS_BIN names that folder.
"""

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
from host import SERVICE

TOOLS = os.environ.get("TOOLS_BIN")
pytestmark = pytest.mark.skipif(not TOOLS, reason="TOOLS_BIN is not set: see tests/python/tools.sh")

ORDER = json.dumps({"customerId": "customer-1", "items": [{"sku": "tea", "quantity": 2, "price": 350}]})
PROTOS = pathlib.Path(__file__).parents[2] / "proto"
OWN_SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
]
TIMEOUT_SECONDS = 60


def run(tool, *args, code=0):
    """Runs a tool, expects its exit code and returns what it printed."""
    command = [str(pathlib.Path(TOOLS) / tool), *args]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == code, f"{tool} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_grpcurl_lists_and_describes(shop_host):
    listed = run("grpcurl", "-plaintext", shop_host.address, "list").split()
    assert listed == OWN_SERVICES + [SERVICE]
    methods = run("grpcurl", "-plaintext", shop_host.address, "list", SERVICE).split()
    assert f"{SERVICE}.CreateOrder" in methods
    described = run("grpcurl", "-plaintext", shop_host.address, "describe", "order.v1.Order")
    assert "message Order {" in described and "repeated .order.v1.OrderItem items" in described
    for service in OWN_SERVICES:
        run("grpcurl", "-plaintext", shop_host.address, "describe", service)


def test_grpcurl_calls_and_shows_details(shop_host):
    answer = run("grpcurl", "-plaintext", "-d", ORDER, shop_host.address, f"{SERVICE}/CreateOrder")
    assert json.loads(answer)["status"] == "CONFIRMED"
    # grpcurl exits with 64 and the status's number.
    refused = run("grpcurl", "-plaintext", "-d", "{}", shop_host.address, f"{SERVICE}/CreateOrder", code=64 + 3)
    assert "Code: InvalidArgument" in refused and "Invalid order data" in refused
    assert "google.rpc.BadRequest" in refused and '"field": "customer_id"' in refused
    absent = run("grpcurl", "-plaintext", "-d", '{"id": "ORD-0"}', shop_host.address, f"{SERVICE}/GetOrder", code=64 + 5)
    assert "Order ORD-0 not found" in absent


def test_grpcurl_asks_for_health(shop_host):
    def health(method, service):
        request = json.dumps({"service": service} if service else {})
        return run(
            "grpcurl", "-plaintext", "-d", request, shop_host.address, f"grpc.health.v1.Health/{method}"
        )

    assert json.loads(health("Check", SERVICE)) == {"status": "SERVING"}
    statuses = json.loads(health("List", ""))["statuses"]
    assert statuses == {"": {"status": "SERVING"}, SERVICE: {"status": "SERVING"}}


# Reflection is a stream in both directions, which HTTP/1.1 does not have: there buf has to be given the protos.
@pytest.mark.parametrize(
    "flags",
    [
        ["--protocol", "grpc", "--http2-prior-knowledge"],
        ["--protocol", "grpcweb", "--http2-prior-knowledge"],
        ["--protocol", "grpcweb", "--schema", str(PROTOS)],
    ],
)
def test_buf_curl_calls(shop_host, flags):
    url = f"http://{shop_host.address}"
    if "--schema" not in flags:
        assert f"{SERVICE}/CreateOrder" in run("buf", "curl", *flags, "--list-methods", url)
    answer = run("buf", "curl", *flags, "-d", ORDER, f"{url}/{SERVICE}/CreateOrder")
    assert json.loads(answer)["status"] == "CONFIRMED"
    refused = run("buf", "curl", *flags, "-d", "{}", f"{url}/{SERVICE}/CreateOrder", code=8 * 3)
    assert json.loads(refused)["code"] == "invalid_argument"


def test_ghz_fails_no_call(shop_host):
    report = json.loads(
        run(
            "ghz",
            "--insecure",
            *["--call", f"{SERVICE}.CreateOrder", "--data", ORDER],
            *["--total", "2000", "--concurrency", "20", "--connections", "4", "--format", "json"],
            shop_host.address,
        )
    )
    assert report["statusCodeDistribution"] == {"OK": 2000}


def test_grpc_health_probe_follows_the_host(start):
    host = start(server={"drain_delay_ms": 60_000})

    def probe(service):
        """Its exit code: 0 serving, 3 the call failed, 4 not serving."""
        command = [f"{TOOLS}/grpc-health-probe", "-addr", host.address, "-service", service]
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS).returncode

    assert probe("") == probe(SERVICE) == 0
    assert probe("order.v2.Nothing") == 3
    host.process.send_signal(signal.SIGTERM)
    # Said before it is so: the probe may be faster than the host.
    end = time.monotonic() + TIMEOUT_SECONDS
    while probe(SERVICE) == 0:
        assert time.monotonic() < end
    assert probe(SERVICE) == probe("") == 4
    host.process.send_signal(signal.SIGTERM)
    assert host.process.wait(TIMEOUT_SECONDS) == 143
