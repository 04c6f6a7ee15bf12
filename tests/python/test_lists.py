"""ListOrders: filters, pages, tokens, and whose orders it shows."""

import pytest
from client import identity, refused, unique
from grpc import StatusCode

from order.v1 import order_pb2 as pb


def pages(shop, user=None, **request):
    """Every page of a list, as lists of ids."""
    request = pb.ListOrdersRequest(**request)
    while True:
        answer = shop.ListOrders(request, metadata=identity(user))
        yield [order.order_id for order in answer.orders]
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def listed(shop, user=None, **request):
    return [order_id for page in pages(shop, user, **request) for order_id in page]


def test_pages_are_complete_newest_first_and_of_the_size_asked(shop):
    customer = unique("customer")
    placed = [shop.place(customer_id=customer).order_id for _ in range(7)]
    found = list(pages(shop, customer_id=customer, page_size=3))
    assert [len(page) for page in found] == [3, 3, 1]
    assert [order_id for page in found for order_id in page] == placed[::-1]


def test_orders_placed_or_changed_while_paging_do_not_disturb_later_pages(shop):
    customer = unique("customer")
    placed = [shop.place(customer_id=customer).order_id for _ in range(4)]
    walk = pages(shop, customer_id=customer, page_size=2)
    assert next(walk) == placed[:1:-1]
    shop.place(customer_id=customer)
    shop.PayOrder(pb.PayOrderRequest(id=placed[0]))
    assert next(walk) == placed[1::-1]


def test_filters_by_customer_and_status_combine(shop):
    user, one, two = unique("user"), unique("one"), unique("two")
    a = shop.place(user, customer_id=one).order_id
    b = shop.place(user, customer_id=one).order_id
    c = shop.place(user, customer_id=two).order_id
    for order_id in (b, c):
        shop.PayOrder(pb.PayOrderRequest(id=order_id), metadata=identity(user))
    assert listed(shop, user, customer_id=one) == [b, a]
    assert listed(shop, user, customer_id=one, status=pb.ORDER_STATUS_PAID) == [b]
    assert listed(shop, user, customer_id=one, status=pb.ORDER_STATUS_CONFIRMED) == [a]
    assert listed(shop, user, customer_id=one, status=pb.ORDER_STATUS_SHIPPED) == []
    everything = listed(shop, user)
    assert [order_id for order_id in everything if order_id in (a, b, c)] == [c, b, a]
    paid = listed(shop, user, status=pb.ORDER_STATUS_PAID)
    assert [order_id for order_id in paid if order_id in (a, b, c)] == [c, b]


def test_an_identity_sees_its_own_and_anonymous_orders(shop):
    customer, ann, bob = unique("customer"), unique("ann"), unique("bob")
    of_ann = shop.place(ann, customer_id=customer).order_id
    of_bob = shop.place(bob, customer_id=customer).order_id
    anonymous = shop.place(customer_id=customer).order_id
    assert listed(shop, ann, customer_id=customer) == [anonymous, of_ann]
    assert listed(shop, bob, customer_id=customer, page_size=1) == [anonymous, of_bob]
    assert listed(shop, customer_id=customer) == [anonymous]


def token_of(shop, user, customer):
    for _ in range(2):
        shop.place(user, customer_id=customer)
    request = pb.ListOrdersRequest(customer_id=customer, page_size=1)
    return shop.ListOrders(request, metadata=identity(user)).next_page_token


def test_a_forged_token_is_told(shop):
    customer = unique("customer")
    token = token_of(shop, None, customer)
    damaged = ("1" if token[0] == "0" else "0") + token[1:]
    for forged in ("page-2", damaged, token[:-2], token + "00"):
        request = pb.ListOrdersRequest(customer_id=customer, page_token=forged)
        refusal = refused(shop.ListOrders, request, StatusCode.INVALID_ARGUMENT)
        (violation,) = refusal.detail("BadRequest").field_violations
        assert violation.field == "page_token"
        assert "is not a token of this service" in violation.description


@pytest.mark.parametrize("change", [{"customer_id": "other"}, {"status": pb.ORDER_STATUS_PAID}])
def test_a_token_of_another_query_is_told(shop, change):
    customer, user = unique("customer"), unique("user")
    token = token_of(shop, user, customer)
    request = pb.ListOrdersRequest(**{"customer_id": customer, "page_token": token, **change})
    refusal = refused(shop.ListOrders, request, StatusCode.INVALID_ARGUMENT, metadata=identity(user))
    (violation,) = refusal.detail("BadRequest").field_violations
    assert violation.field == "page_token"
    assert "belongs to another query" in violation.description


def test_a_token_of_another_identity_is_told(shop):
    customer = unique("customer")
    token = token_of(shop, unique("ann"), customer)
    request = pb.ListOrdersRequest(customer_id=customer, page_token=token)
    refusal = refused(
        shop.ListOrders, request, StatusCode.INVALID_ARGUMENT, metadata=identity(unique("bob"))
    )
    assert "belongs to another query" in refusal.message


def test_wrong_page_sizes_and_filters_are_told_together(shop):
    request = pb.ListOrdersRequest(page_size=-1, customer_id="x" * 129, status=99)
    refusal = refused(shop.ListOrders, request, StatusCode.INVALID_ARGUMENT)
    assert set(refusal.violated_fields()) == {"page_size", "customer_id", "status"}


def test_a_page_stays_below_a_stock_clients_message_limit(shop):
    customer = unique("customer")
    items = [pb.OrderItem(sku="s" * 64, quantity=1, price=2**40)] * 1000
    placed = [shop.place(customer_id=customer, items=items).order_id for _ in range(60)]
    assert listed(shop, customer_id=customer, page_size=100) == placed[::-1]
