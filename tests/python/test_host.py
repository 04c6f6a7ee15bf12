"""What the host adds to the plugin: durability, events, reflection, health."""

import json

import grpc
import pytest
from client import Client, identity, refused
from google.protobuf import descriptor_pool
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from host import SERVICE, STOP_SECONDS

from order.v1 import order_pb2 as pb


def test_orders_survive_a_restart(start):
    config = {"trust_user_id": True}
    first = start(config)
    shop = Client(first.channel)
    paid = shop.place("ann")
    shop.PayOrder(pb.PayOrderRequest(id=paid.order_id), metadata=identity("ann"))
    open_order = shop.place("ann")
    first.stop()

    shop = Client(start(config, data=first.data).channel)
    order = shop.GetOrder(pb.GetOrderRequest(id=paid.order_id), metadata=identity("ann"))
    assert (order.status, order.version) == (pb.ORDER_STATUS_PAID, 2)
    refused(shop.GetOrder, pb.GetOrderRequest(id=paid.order_id), StatusCode.PERMISSION_DENIED)
    listed = shop.ListOrders(pb.ListOrdersRequest(), metadata=identity("ann")).orders
    assert [order.order_id for order in listed] == [open_order.order_id, paid.order_id]


def test_events_of_committed_changes_reach_the_sink_once_and_in_order(start):
    host = start()
    shop = Client(host.channel)
    shipped, cancelled = shop.place().order_id, shop.place().order_id
    shop.PayOrder(pb.PayOrderRequest(id=shipped))
    shop.ShipOrder(pb.ShipOrderRequest(id=shipped))
    shop.CancelOrder(pb.CancelOrderRequest(id=cancelled))
    refused(shop.CancelOrder, pb.CancelOrderRequest(id=shipped), StatusCode.FAILED_PRECONDITION)
    host.stop()

    events = [json.loads(line) for line in (host.data / "events.jsonl").read_text().splitlines()]
    topics = {}
    for event in events:
        topics.setdefault(event["key"], []).append(event["topic"])
    assert topics == {
        shipped: ["order.created", "order.paid", "order.shipped"],
        cancelled: ["order.created", "order.cancelled"],
    }
    ids = [event["id"] for event in events]
    assert len(set(ids)) == len(ids)


def test_reflection_describes_the_service(shop_host):
    database = ProtoReflectionDescriptorDatabase(shop_host.channel)
    assert SERVICE in database.get_services()
    service = descriptor_pool.DescriptorPool(database).FindServiceByName(SERVICE)
    assert [method.name for method in service.methods] == [
        method.name for method in pb.DESCRIPTOR.services_by_name["OrderService"].methods
    ]
    order = service.methods_by_name["CreateOrder"].input_type
    assert [field.name for field in order.fields] == [field.name for field in pb.Order.DESCRIPTOR.fields]


def test_health_knows_the_server_and_each_service(shop_host):
    health = health_pb2_grpc.HealthStub(shop_host.channel)
    for service in ("", SERVICE):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as raised:
        health.Check(health_pb2.HealthCheckRequest(service="order.v2.Nothing"))
    assert raised.value.code() == StatusCode.NOT_FOUND


def test_health_watchers_learn_of_a_shutdown(start):
    host = start()
    health = health_pb2_grpc.HealthStub(host.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    host.process.terminate()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    assert host.process.wait(STOP_SECONDS) == 0
