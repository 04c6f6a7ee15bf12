"""What every call has: metadata, deadlines, rate limits."""

import json
import re
import time

import grpc
import pytest
from client import Client, an_order, identity, refused, unique, values
from grpc import StatusCode

from order.v1 import order_pb2 as pb


def test_answers_carry_version_region_time_and_request_id(shop):
    answer, call = shop.CreateOrder.with_call(an_order(), metadata=(("x-request-id", "req-1"),))
    assert answer.status == "CONFIRMED"
    initial, trailing = call.initial_metadata(), call.trailing_metadata()
    (version,) = values(initial, "server-version")
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert values(initial, "region") == ["eu-test"]
    assert values(initial, "x-request-id") == ["req-1"]
    (milliseconds,) = values(trailing, "processing-time-ms")
    assert int(milliseconds) >= 0


def test_refusals_carry_them_too(shop):
    refusal = refused(
        shop.GetOrder,
        pb.GetOrderRequest(id="ORD-NONE"),
        StatusCode.NOT_FOUND,
        metadata=(("x-request-id", "req-2"),),
    )
    assert len(values(refusal.initial, "server-version")) == 1
    assert values(refusal.initial, "region") == ["eu-test"]
    assert values(refusal.initial, "x-request-id") == ["req-2"]
    assert len(values(refusal.trailing, "processing-time-ms")) == 1


def test_nothing_is_made_up_where_nothing_was_set(start):
    _, call = Client(start().channel).CreateOrder.with_call(an_order())
    assert values(call.initial_metadata(), "region") == []
    assert values(call.initial_metadata(), "x-request-id") == []


def test_the_request_id_is_in_the_log_lines_of_the_call(shop, shop_host):
    request_id = unique("req")
    order_id = shop.CreateOrder(an_order(), metadata=(("x-request-id", request_id),)).order_id
    lines = [json.loads(line) for line in shop_host.log_text().splitlines() if order_id in line]
    # Delivering the event is no part of the call.
    of_the_call = [line for line in lines if line.get("span", {}).get("name") == "call"]
    assert of_the_call, "the call logs the order"
    assert all(request_id in json.dumps(line) for line in of_the_call)


def test_a_call_with_too_little_time_left_is_refused_and_stores_nothing(shop):
    order_id = unique("late")
    refusal = refused(
        shop.CreateOrder, an_order(order_id=order_id), StatusCode.DEADLINE_EXCEEDED, timeout=0.45
    )
    assert refusal.message == "Insufficient time to process order"
    refused(shop.GetOrder, pb.GetOrderRequest(id=order_id), StatusCode.NOT_FOUND)


def test_the_least_time_left_is_the_operators_choice(start):
    shop = Client(start({"min_remaining_ms": 20_000}).channel)
    refused(shop.CreateOrder, an_order(), StatusCode.DEADLINE_EXCEEDED, timeout=10)
    shop.CreateOrder(an_order(), timeout=60)
    shop.CreateOrder(an_order())


def test_a_timeout_of_55_years_is_no_overflow(shop):
    # A common mistake: an absolute time where a duration belongs.
    confirmation = shop.CreateOrder(an_order(), timeout=time.time() + 5)
    assert confirmation.status == "CONFIRMED"


def test_calls_over_the_rate_are_told_when_to_come_back(start):
    shop = Client(start({"rate_limit": "3/1h"}).channel)
    for _ in range(2):
        shop.place()
    # A refused call counts: the decision outlives the call.
    refused(shop.GetOrder, pb.GetOrderRequest(id="ORD-NONE"), StatusCode.NOT_FOUND)
    refusal = refused(shop.CreateOrder, an_order(), StatusCode.RESOURCE_EXHAUSTED)
    seconds = int(re.fullmatch(r"Rate limit exceeded; retry after (\d+)s", refusal.message)[1])
    delay = refusal.detail("RetryInfo").retry_delay
    assert 0 < delay.ToTimedelta().total_seconds() <= seconds <= 3600


def test_there_is_no_rate_limit_unless_configured(shop):
    for _ in range(200):
        refused(shop.GetOrder, pb.GetOrderRequest(id="ORD-NONE"), StatusCode.NOT_FOUND)


def test_an_over_long_user_id_is_refused(shop):
    refused(shop.CreateOrder, an_order(), StatusCode.INVALID_ARGUMENT, metadata=identity("x" * 257))


def test_many_clients_at_once_each_get_their_own_order(shop_host):
    customer = unique("crowd")
    own_connection = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(shop_host.address, own_connection) for _ in range(8)]
    stubs = [Client(channel) for channel in channels]
    order = an_order(customer_id=customer)
    futures = [stubs[index % 8].CreateOrder.future(order) for index in range(200)]
    ids = {future.result(timeout=60).order_id for future in futures}
    assert len(ids) == 200
    for channel in channels:
        channel.close()


@pytest.mark.parametrize("size", [5 * 1024 * 1024, 11 * 1024 * 1024], ids=["below", "above"])
def test_messages_up_to_10_mib_reach_the_plugin(shop, size):
    order = an_order(customer_id="x" * size)
    if size < 10 * 1024 * 1024:
        refusal = refused(shop.CreateOrder, order, StatusCode.INVALID_ARGUMENT)
        assert refusal.violated_fields() == ["customer_id"]
    else:
        refused(shop.CreateOrder, order, StatusCode.RESOURCE_EXHAUSTED)
