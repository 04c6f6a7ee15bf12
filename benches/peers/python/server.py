"""The benchmark's handler behind a plain grpc.aio server. It serves until it is killed, on a port that it prints.

The modules that it imports are made from bench.proto by grpcio-tools before it is started.
"""

import asyncio

import grpc
from bench.v1 import bench_pb2, bench_pb2_grpc


class Bench(bench_pb2_grpc.BenchServicer):
    async def Place(self, order, context):
        sent = dict(context.invocation_metadata())
        try:
            confirmation = place(order)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        await context.send_initial_metadata((("x-request-id", sent.get("x-request-id", "")),))
        context.set_trailing_metadata((("processing-time-ms", "0"),))
        return confirmation


def place(order):
    """What plugins/bench/src/place.rs does."""
    if not order.customer_id:
        raise ValueError("customer_id must not be empty")
    total = 0
    for item in order.items:
        if not item.sku or item.quantity < 1 or item.price < 0:
            raise ValueError("items must have a sku, a quantity and a price")
        total += item.price * item.quantity
    if total >= 1 << 63:
        raise ValueError("the total is too large")
    if total == 0:
        raise ValueError("the total must not be zero")
    return bench_pb2.Confirmation(status="CONFIRMED", order_id=f"ORD-{checksum(order):012X}", total=total)


def checksum(order):
    """FNV-1a over the texts of the order."""
    digest = 0xCBF29CE484222325
    for text in (order.customer_id, *(item.sku for item in order.items)):
        for byte in text.encode():
            digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return digest & 0xFFFFFFFFFFFF


async def main():
    server = grpc.aio.server()
    bench_pb2_grpc.add_BenchServicer_to_server(Bench(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


asyncio.run(main())
