"""The files in `deploy/`: that they say what the host understands, agree with each other, and work as far as they can
be tried without a cluster, a registry or a booted systemd.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import tomllib

import grpc
import kubernetes_validate
import pytest
import yaml
from certificates import Authority, write_host_files
from client import Client
from host import START_SECONDS, STOP_SECONDS

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.37"
MANIFEST = DEPLOY / "kubernetes" / "mortise.yaml"
UNIT = DEPLOY / "systemd" / "mortise.service"
UNIT_CONFIG = DEPLOY / "systemd" / "mortise.toml"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"

MIB = 1 << 20
# What closing the store and delivering the last events may take, beside the drain.
CLOSING_SECONDS = 30
# What docs/deploy.md counts for each connection, and for the host itself.
CONNECTION_BYTES = 100 << 10
HOST_BYTES = 128 * MIB


def documents():
    return list(yaml.safe_load_all(MANIFEST.read_text()))


def of_kind(kind):
    (found,) = [document for document in documents() if document["kind"] == kind]
    return found


def pod():
    return of_kind("StatefulSet")["spec"]["template"]["spec"]


def container():
    (only,) = pod()["containers"]
    return only


def pod_config():
    return of_kind("ConfigMap")["data"]["mortise.toml"]


def unit_settings(key):
    lines = UNIT.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def here(config, folder):
    """The configuration with its paths in `folder`, where everything is that it names."""
    tls = write_host_files(folder, Authority("the host's"))
    for path, local in {
        r'"[^"]*/tls\.crt"': tls["tls_certificate"],
        r'"[^"]*/tls\.key"': tls["tls_key"],
        r'"[^"]*/order\.wasm"': os.environ["ORDER_WASM"],
        r'data = "[^"]*"': None,
    }.items():
        new = f'"{local}"' if local else f'data = "{folder / "data"}"'
        config, replaced = re.subn(path, new, config)
        assert replaced == 1, path
    return config


def mortise(*args):
    command = [os.environ["MORTISE_BIN"], *args]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_SECONDS)


@pytest.mark.parametrize("config", [UNIT_CONFIG.read_text(), pod_config()], ids=["unit", "pod"])
def test_the_configurations_are_right(tmp_path, config):
    file = tmp_path / "mortise.toml"
    file.write_text(here(config, tmp_path))
    checked = mortise("check", "--config", str(file))
    assert checked.returncode == 0, checked.stderr


def test_the_manifest_is_one_of_kubernetes():
    for document in documents():
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_grace_period_is_long_enough_for_the_drain():
    server = tomllib.loads(pod_config())["server"]
    drain = (server["drain_delay_ms"] + server["drain_timeout_ms"]) / 1000
    assert pod()["terminationGracePeriodSeconds"] >= drain + CLOSING_SECONDS
    # Readiness must have failed, and endpoints be withdrawn, before new calls are refused.
    probe = container()["readinessProbe"]
    assert server["drain_delay_ms"] / 1000 >= probe["periodSeconds"] * probe["failureThreshold"]
    # systemd is told by the host itself how long it may take.
    assert unit_settings("Type") == ["notify"] and not unit_settings("TimeoutStopSec")


def test_the_memory_limit_is_more_than_the_host_can_be_made_to_use():
    config = tomllib.loads(pod_config())
    server = config["server"]
    sandboxes = max(plugin["max_memory_bytes"] for plugin in config["plugins"].values())
    worst = (
        server["max_concurrent_calls"] * (sandboxes + server["max_response_bytes"])
        + server["max_request_memory_bytes"]
        + server["max_response_memory_bytes"]
        + server["max_connections"] * CONNECTION_BYTES
        + 64 * MIB  # store.cache_bytes
        + HOST_BYTES
    )
    limit = container()["resources"]["limits"]["memory"]
    assert limit.endswith("Gi") and worst <= int(limit[:-2]) * 1024 * MIB


def test_the_pod_and_the_image_fit():
    image = CONTAINERFILE.read_text()
    (user,) = re.findall(r"^USER (\d+):(\d+)$", image, re.M)
    security = pod()["securityContext"]
    assert user == (str(security["runAsUser"]), str(security["runAsGroup"]))
    assert security["fsGroup"] == security["runAsGroup"] and security["runAsNonRoot"]
    mounts = {mount["mountPath"]: mount for mount in container()["volumeMounts"]}
    volumes = {volume["name"] for volume in pod()["volumes"]}
    claims = {claim["metadata"]["name"] for claim in of_kind("StatefulSet")["spec"]["volumeClaimTemplates"]}
    assert {mount["name"] for mount in mounts.values()} == volumes | claims
    # What the configuration names is in a mount, and only the data folder's can be written to.
    config = tomllib.loads(pod_config())
    server = config["server"]
    named = [server["tls_certificate"], server["tls_key"], config["plugins"]["order"]["file"]]
    for path in named:
        assert mounts[str(pathlib.PurePath(path).parent)]["readOnly"]
    writable = [path for path, mount in mounts.items() if not mount.get("readOnly")]
    assert [str(pathlib.PurePath(server["data"]).parent)] == writable
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports["admin"] == int(config["admin"]["listen"].rpartition(":")[2])
    # The default of server.listen.
    assert ports["grpc"] == 50051 and f"EXPOSE {ports['grpc']}" in image


def probes():
    """Every command of the host that the files run to see whether it is well."""
    commands = [container()[probe]["exec"]["command"] for probe in ("startupProbe", "readinessProbe")]
    (check,) = re.findall(r"^    CMD (\[.*\])$", CONTAINERFILE.read_text(), re.M)
    return commands + [yaml.safe_load(check)]


def test_probes_tell_how_a_host_is(start, tmp_path):
    host = start({}, server={"drain_delay_ms": 60_000})
    config = tmp_path / "host-0" / "mortise.toml"
    commands = [
        [str(config) if argument == "/etc/mortise/mortise.toml" else argument for argument in command[1:]]
        for command in probes()
    ]
    data = ["--data", str(host.data)]
    for command in commands:
        assert "--config" in command
        assert mortise(*command, *data).returncode == 0
    host.process.send_signal(signal.SIGTERM)
    _until(lambda: mortise(*commands[0], *data).returncode == 4)
    host.process.send_signal(signal.SIGTERM)
    host.process.wait(STOP_SECONDS)
    assert mortise(*commands[0], *data).returncode == 1


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_the_unit_is_one_of_systemd_and_hardened(tmp_path):
    unit = tmp_path / UNIT.name
    text = UNIT.read_text()
    assert text.count("/usr/bin/mortise ") == 1
    unit.write_text(text.replace("/usr/bin/mortise ", os.environ["MORTISE_BIN"] + " "))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)], capture_output=True, text=True
    )
    assert verified.returncode == 0 and not verified.stderr, verified.stderr
    # In tenths: what is left is the network, which it serves on.
    threshold = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", str(unit)]
    rated = subprocess.run(threshold, capture_output=True, text=True)
    assert rated.returncode == 0, rated.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process another root and another user")
def test_the_files_of_the_image_are_all_it_needs(tmp_path):
    root, data = tmp_path / "root", tmp_path / "data"
    subprocess.run([DEPLOY / "container" / "rootfs.sh", os.environ["MORTISE_BIN"], root], check=True)
    programs = [path for path in root.rglob("*") if path.is_file() and path.parent.name in ("bin", "sbin")]
    assert [str(path.relative_to(root)) for path in programs] == ["usr/bin/mortise"]
    (root / "proc").mkdir()
    shutil.copy(os.environ["ORDER_WASM"], root / "plugins" / "order.wasm")
    (root / "etc" / "mortise" / "mortise.toml").write_text(
        '[server]\nlisten = "127.0.0.1:0"\ndata = "/var/lib/mortise"\n[plugins.order]\nfile = "/plugins/order.wasm"\n'
    )
    data.mkdir(mode=0o700)
    os.chown(data, 65532, 65532)
    # As the runtime of a container does it: a root that is read-only, a volume, nobody's user, an empty environment.
    script = """
        mount --bind "$1" "$1" && mount --bind "$2" "$1/var/lib/mortise" && mount -o remount,bind,ro "$1"
        mount -t proc proc "$1/proc"
        exec env -i "$(command -v setpriv)" --no-new-privs \\
            "$(command -v chroot)" --userspec=65532:65532 "$1" \\
            /usr/bin/mortise serve --config /etc/mortise/mortise.toml
    """
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script, "sh", root, data]
    log = tmp_path / "log"
    with log.open("wb") as output:
        host = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _until(lambda: '"listening"' in log.read_text() or host.poll() is not None)
        (address,) = re.findall(r'"address":"([^"]+)"', log.read_text()) or [log.read_text()]
        with grpc.insecure_channel(address) as channel:
            assert Client(channel).place().order_id
        assert mortise("health", "--data", str(data)).stdout == "SERVING\n"
    finally:
        # The host is the first process of its namespace; `unshare` waits for it.
        children = pathlib.Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGTERM)
        assert host.wait(STOP_SECONDS) == 0, log.read_text()


def _until(done):
    end = time.monotonic() + START_SECONDS
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
