"""A stock client of the order service, with the few short cuts the tests share."""

import uuid

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from order.v1 import order_pb2, order_pb2_grpc


class Client(order_pb2_grpc.OrderServiceStub):
    """The generated stub, and an order in one line."""

    def place(self, user=None, **fields):
        """Places a valid order, changed by `fields`, and returns the confirmation."""
        return self.CreateOrder(an_order(**fields), metadata=identity(user))

    def placed(self, user=None, **fields):
        """Places an order and reads it back."""
        confirmation = self.place(user, **fields)
        return self.GetOrder(order_pb2.GetOrderRequest(id=confirmation.order_id), metadata=identity(user))


def an_order(**fields):
    """Customer and items are all that an order needs."""
    order = order_pb2.Order(
        customer_id=fields.pop("customer_id", "customer-1"),
        items=fields.pop("items", [order_pb2.OrderItem(sku="tea", quantity=2, price=350)]),
    )
    for field, value in fields.items():
        setattr(order, field, value)
    return order


def identity(user):
    return (("user-id", user),) if user else ()


def unique(name):
    """A name no other test uses."""
    return f"{name}-{uuid.uuid4().hex}"


class Refusal:
    """A failed call: code, message, details and metadata."""

    def __init__(self, error: grpc.RpcError):
        self.code = error.code()
        self.message = error.details()
        self.initial = error.initial_metadata() or ()
        self.trailing = error.trailing_metadata() or ()
        # Also checks that the code and message in `grpc-status-details-bin` agree with the trailers.
        self.status = rpc_status.from_call(error)

    def detail(self, name):
        """The one detail of that type, such as `BadRequest`."""
        message = getattr(error_details_pb2, name)()
        (found,) = [detail for detail in self.status.details if detail.Is(message.DESCRIPTOR)]
        assert found.Unpack(message)
        return message

    def violated_fields(self):
        return [violation.field for violation in self.detail("BadRequest").field_violations]


def refused(method, request, code, **options) -> Refusal:
    """Calls and expects the code."""
    with pytest.raises(grpc.RpcError) as raised:
        method(request, **options)
    refusal = Refusal(raised.value)
    assert refusal.code == code, f"{refusal.code}: {refusal.message}"
    return refusal


def values(metadata, key):
    """All values of a metadata key."""
    return [value for name, value in metadata or () if name == key]
