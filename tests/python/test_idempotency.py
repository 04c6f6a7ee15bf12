"""Calls that a client repeats because it did not hear of their end."""

import threading

import grpc
import pytest
from client import Client, an_order, identity, refused, unique, values
from google.protobuf import json_format
from grpc import StatusCode

from order.v1 import order_pb2 as pb


def keyed(key, *more):
    return (("idempotency-key", key), *more)


def but_date(metadata):
    """HTTP's date is of the moment in which an answer is sent."""
    return [entry for entry in metadata if entry.key != "date"]


def test_a_repeated_call_gets_the_same_answer_and_metadata(shop):
    key = unique("key")
    order = an_order()
    first, first_call = shop.CreateOrder.with_call(order, metadata=keyed(key))
    again, again_call = shop.CreateOrder.with_call(order, metadata=keyed(f'"{key}"'))
    assert again == first
    assert but_date(again_call.initial_metadata()) == but_date(first_call.initial_metadata())
    assert again_call.trailing_metadata() == first_call.trailing_metadata()
    other = shop.CreateOrder(order, metadata=keyed(unique("key")))
    assert other.order_id != first.order_id


def test_a_key_with_another_request_is_refused(shop):
    key, taken = unique("key"), unique("web")
    shop.CreateOrder(an_order(), metadata=keyed(key))
    refusal = refused(
        shop.CreateOrder, an_order(order_id=taken), StatusCode.FAILED_PRECONDITION, metadata=keyed(key)
    )
    assert refusal.detail("ErrorInfo").reason == "IDEMPOTENCY_KEY_REUSED"
    refused(shop.GetOrder, pb.GetOrderRequest(id=taken), StatusCode.NOT_FOUND)


def test_a_failed_call_may_run_again_under_its_key(shop):
    key, order_id = unique("key"), unique("web")
    pay = pb.PayOrderRequest(id=order_id)
    refused(shop.PayOrder, pay, StatusCode.NOT_FOUND, metadata=keyed(key))
    shop.place(order_id=order_id)
    paid = shop.PayOrder(pay, metadata=keyed(key))
    assert shop.PayOrder(pay, metadata=keyed(key)) == paid
    refused(shop.PayOrder, pay, StatusCode.FAILED_PRECONDITION)


@pytest.mark.parametrize("key", ["", "two keys", '"open', "x" * 256])
def test_malformed_keys_are_refused(shop, key):
    refusal = refused(shop.CreateOrder, an_order(), StatusCode.INVALID_ARGUMENT, metadata=keyed(key))
    assert refusal.detail("ErrorInfo").reason == "MALFORMED_IDEMPOTENCY_KEY"


def test_many_at_once_place_one_order(shop):
    key, customer = unique("key"), unique("customer")
    order = an_order(customer_id=customer)
    answers = []

    def place():
        answers.append(shop.CreateOrder(order, metadata=keyed(key), timeout=30).order_id)

    threads = [threading.Thread(target=place) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 16 and len(set(answers)) == 1
    listed = shop.ListOrders(pb.ListOrdersRequest(customer_id=customer)).orders
    assert [placed.order_id for placed in listed] == answers[:1]


def test_a_service_config_that_retries_places_one_order(shop_host):
    """The stock client repeats the call by itself; the key makes that safe."""
    policy = {
        "methodConfig": [
            {
                "name": [{"service": "order.v1.OrderService"}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "ABORTED"],
                },
            }
        ]
    }
    options = [("grpc.service_config", json_format.json.dumps(policy))]
    with grpc.insecure_channel(shop_host.address, options=options) as channel:
        shop, key, customer = Client(channel), unique("key"), unique("customer")
        for _ in range(3):
            shop.CreateOrder(an_order(customer_id=customer), metadata=keyed(key))
        assert len(shop.ListOrders(pb.ListOrdersRequest(customer_id=customer)).orders) == 1


def test_answers_outlive_the_host(start):
    key, order = unique("key"), an_order()
    host = start({"trust_user_id": True})
    first, call = Client(host.channel).CreateOrder.with_call(order, metadata=keyed(key, *identity("ann")))
    host.stop()
    again, repeated = Client(start({"trust_user_id": True}, data=host.data).channel).CreateOrder.with_call(
        order, metadata=keyed(key, *identity("ann"))
    )
    assert again == first
    assert values(repeated.trailing_metadata(), "processing-time-ms") == values(
        call.trailing_metadata(), "processing-time-ms"
    )
