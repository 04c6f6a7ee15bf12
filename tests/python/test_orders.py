"""The life of an order, and every status the service answers with."""

import re

import grpc
import pytest
from client import Client, an_order, identity, refused, unique
from grpc import StatusCode

from order.v1 import order_pb2 as pb

OrderItem = pb.OrderItem


def test_an_order_with_only_customer_and_items_is_confirmed(shop):
    confirmation = shop.place()
    assert confirmation.status == "CONFIRMED"
    assert re.fullmatch(r"ORD-[0-9A-F]{12}", confirmation.order_id)
    assert confirmation.total == 700
    order = shop.GetOrder(pb.GetOrderRequest(id=confirmation.order_id))
    assert order.order_id == confirmation.order_id
    assert order.created_at == confirmation.confirmed_at
    assert order.currency == "USD"
    assert order.status == pb.ORDER_STATUS_CONFIRMED
    assert order.version == 1
    assert [item.sku for item in order.items] == ["tea"]


def test_an_order_goes_through_its_life(shop):
    order_id = shop.place().order_id
    paid = shop.PayOrder(pb.PayOrderRequest(id=order_id, version=1))
    assert (paid.status, paid.version) == (pb.ORDER_STATUS_PAID, 2)
    shipped = shop.ShipOrder(pb.ShipOrderRequest(id=order_id, version=2))
    assert (shipped.status, shipped.version) == (pb.ORDER_STATUS_SHIPPED, 3)
    assert shop.GetOrder(pb.GetOrderRequest(id=order_id)) == shipped


def test_a_given_id_that_is_taken_is_already_exists(shop):
    order_id = unique("web")
    assert shop.place(order_id=order_id).order_id == order_id
    refusal = refused(shop.CreateOrder, an_order(order_id=order_id), StatusCode.ALREADY_EXISTS)
    assert refusal.detail("ResourceInfo").resource_name == order_id


def test_every_field_violation_is_told_at_once(shop):
    items = [OrderItem(quantity=0, price=-1), OrderItem(sku="x" * 65, quantity=1)]
    order = pb.Order(currency="euro", items=items)
    refusal = refused(shop.CreateOrder, order, StatusCode.INVALID_ARGUMENT)
    assert refusal.message.startswith("Invalid order data")
    assert set(refusal.violated_fields()) == {
        "customer_id",
        "currency",
        "items[0].sku",
        "items[0].quantity",
        "items[0].price",
        "items[1].sku",
    }


@pytest.mark.parametrize(
    "items, field",
    [
        ([], "items"),
        ([OrderItem(sku="free", quantity=1, price=0)], "total"),
        ([OrderItem(sku="gold", quantity=2, price=2**62)], "total"),
        ([OrderItem(sku="gold", quantity=1, price=2**62)] * 2, "total"),
    ],
    ids=["no items", "zero total", "overflowing line", "overflowing sum"],
)
def test_items_must_give_a_total(shop, items, field):
    refusal = refused(shop.CreateOrder, an_order(items=items), StatusCode.INVALID_ARGUMENT)
    assert refusal.violated_fields() == [field]


def test_a_list_of_violations_too_long_for_a_stock_client_is_cut_and_says_so(shop):
    order = an_order(items=[OrderItem(quantity=-1, price=-1)] * 1000)
    refusal = refused(shop.CreateOrder, order, StatusCode.INVALID_ARGUMENT)
    assert refusal.message.startswith("Invalid order data")
    *listed, notice = refusal.detail("BadRequest").field_violations
    assert len(listed) > 30
    assert notice.description == f"{3000 - len(listed)} more violations are not listed"


def test_bytes_that_do_not_parse_are_internal(shop_host):
    create = shop_host.channel.unary_unary("/order.v1.OrderService/CreateOrder")
    with pytest.raises(grpc.RpcError) as raised:
        create(b"\x0a\xff\xff\xff")
    assert raised.value.code() == StatusCode.INTERNAL


def test_an_unknown_id_is_not_found(shop):
    refusal = refused(shop.GetOrder, pb.GetOrderRequest(id="ORD-NONE"), StatusCode.NOT_FOUND)
    assert refusal.message == "Order ORD-NONE not found"
    assert refusal.detail("ResourceInfo").resource_name == "ORD-NONE"


def test_an_empty_id_is_invalid(shop):
    for method, kind in methods_by_id(shop):
        refusal = refused(method, kind(), StatusCode.INVALID_ARGUMENT)
        assert refusal.violated_fields() == ["id"]


def methods_by_id(shop):
    return [
        (shop.GetOrder, pb.GetOrderRequest),
        (shop.PayOrder, pb.PayOrderRequest),
        (shop.ShipOrder, pb.ShipOrderRequest),
        (shop.CancelOrder, pb.CancelOrderRequest),
    ]


def test_another_identitys_order_is_denied(shop):
    ann, bob = unique("ann"), unique("bob")
    order_id = shop.place(ann).order_id
    for method, kind in methods_by_id(shop):
        for other in (bob, None):
            refusal = refused(
                method, kind(id=order_id), StatusCode.PERMISSION_DENIED, metadata=identity(other)
            )
            assert refusal.message == "Access denied"
    assert shop.GetOrder(pb.GetOrderRequest(id=order_id), metadata=identity(ann)).version == 1


def test_an_anonymous_order_is_open_to_all(shop):
    order_id = shop.place().order_id
    cancelled = shop.CancelOrder(pb.CancelOrderRequest(id=order_id), metadata=identity(unique("bob")))
    assert cancelled.status == pb.ORDER_STATUS_CANCELLED


def test_a_shipped_order_cannot_be_cancelled(shop):
    order_id = shop.place().order_id
    shop.PayOrder(pb.PayOrderRequest(id=order_id))
    shop.ShipOrder(pb.ShipOrderRequest(id=order_id))
    refusal = refused(shop.CancelOrder, pb.CancelOrderRequest(id=order_id), StatusCode.FAILED_PRECONDITION)
    (violation,) = refusal.detail("PreconditionFailure").violations
    assert violation.subject == order_id
    assert "SHIPPED" in violation.description


def test_a_stale_version_is_aborted_and_changes_nothing(shop):
    order_id = shop.place().order_id
    shop.PayOrder(pb.PayOrderRequest(id=order_id, version=1))
    refusal = refused(shop.CancelOrder, pb.CancelOrderRequest(id=order_id, version=1), StatusCode.ABORTED)
    assert refusal.detail("ErrorInfo").metadata["current_version"] == "2"
    assert shop.GetOrder(pb.GetOrderRequest(id=order_id)).status == pb.ORDER_STATUS_PAID


def test_no_identity_where_one_is_required_is_unauthenticated(start):
    shop = Client(start({"require_identity": True, "trust_user_id": True}).channel)
    refused(shop.CreateOrder, an_order(), StatusCode.UNAUTHENTICATED)
    refused(shop.ListOrders, pb.ListOrdersRequest(), StatusCode.UNAUTHENTICATED)
    shop.place("ann")


def test_user_id_means_nothing_unless_the_operator_trusts_it(start):
    shop = Client(start({"trust_user_id": False}).channel)
    order_id = shop.place("ann").order_id
    assert shop.GetOrder(pb.GetOrderRequest(id=order_id), metadata=identity("bob")).order_id == order_id


def test_unknown_methods_are_unimplemented(shop_host):
    for path in ("/order.v1.OrderService/Refund", "/order.v2.OrderService/CreateOrder"):
        with pytest.raises(grpc.RpcError) as raised:
            shop_host.channel.unary_unary(path)(b"")
        assert raised.value.code() == StatusCode.UNIMPLEMENTED
