"""Runs real hosts: the built binary, a real socket, a real data directory."""

import os
import pathlib
import signal
import socket
import subprocess
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICE = "order.v1.OrderService"

# A debug build compiles the component on first start.
START_SECONDS = 60
STOP_SECONDS = 30


class Host:
    """One `mortise serve` with the order plugin, and a channel to it."""

    def __init__(
        self,
        directory: pathlib.Path,
        config: dict | None = None,
        data: pathlib.Path | None = None,
        server: dict | None = None,
        address: str | None = None,
        sections: str = "",
        credentials: grpc.ChannelCredentials | None = None,
    ):
        """Starts a host and waits until it serves.

        `config` holds the order plugin's values, and `server` keys of that section; without either the host
        runs on flags alone. A `data` directory of an earlier host makes this one continue with its orders.
        `sections` are further ones of the file. With `credentials` the channel speaks TLS, to `localhost`.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.data = data or directory / "data"
        self.log = directory / "host.log"
        self.address = address or f"127.0.0.1:{_free_port()}"
        component = os.environ["ORDER_WASM"]
        command = [os.environ["MORTISE_BIN"], "serve", "--listen", self.address, "--data", str(self.data)]
        if config is None and server is None:
            command += ["--plugin", f"order={component}"]
        else:
            file = directory / "mortise.toml"
            file.write_text(_toml(component, config or {}, server or {}) + sections)
            command += ["--config", str(file)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if credentials:
            self.channel = self.secure_channel(credentials)
        else:
            self.channel = grpc.insecure_channel(self.address)
        try:
            self._wait_until_serving()
        except BaseException:
            self.channel.close()
            self.process.kill()
            self.process.wait()
            raise

    def secure_channel(self, credentials: grpc.ChannelCredentials) -> grpc.Channel:
        options = [("grpc.ssl_target_name_override", "localhost")]
        return grpc.secure_channel(self.address, credentials, options)

    def _wait_until_serving(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        end = time.monotonic() + START_SECONDS
        # Until then another host may answer at the same address.
        while '"listening"' not in self.log_text() and time.monotonic() < end:
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the host ended with {self.process.returncode}:\n{self.log_text()}")
            try:
                answer = health.Check(
                    health_pb2.HealthCheckRequest(service=SERVICE), wait_for_ready=True, timeout=2
                )
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError as error:
                if error.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    grpc.StatusCode.NOT_FOUND,
                ):
                    raise
            if time.monotonic() > end:
                raise AssertionError(f"not serving after {START_SECONDS} s:\n{self.log_text()}")
            time.sleep(0.05)

    def stop(self):
        """Asks the host to end, as an init system does, and expects that it ends well."""
        self.channel.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            late = f"still running {STOP_SECONDS} s after SIGTERM:\n{self.log_text()}"
            raise AssertionError(late) from None
        assert code == 0, f"exit code {code} after SIGTERM:\n{self.log_text()}"

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _toml(component: str, config: dict, server: dict) -> str:
    lines = ["[server]"] + [f"{key} = {_toml_value(value)}" for key, value in server.items()]
    lines += ["", "[plugins.order]", f"file = {_toml_value(component)}", "", "[plugins.order.config]"]
    lines += [f"{key} = {_toml_value(value)}" for key, value in config.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
