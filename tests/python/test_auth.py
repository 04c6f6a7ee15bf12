"""Callers are who they say they are: tokens made by PyJWT, sent as call credentials, and client certificates."""

import json
import os
import time

import grpc
import jwt
import pytest
from certificates import Authority, write_host_files
from client import Client, an_order, refused
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from grpc import StatusCode

from order.v1 import order_pb2 as pb

ISSUER = "https://accounts.test"
# Nobody is let in without an identity.
STRICT = {"require_identity": True}


class Issuer:
    """Signs tokens, and publishes its keys as a JSON Web Key Set."""

    def __init__(self, folder, algorithm="RS256", key_id="2026"):
        self.algorithm, self.key_id = algorithm, key_id
        self.file = folder / "keys.json"
        self.renew(key_id)

    def renew(self, key_id, keeping_the_last=False):
        """A new key instead of the one before, or beside it, published at once."""
        made = {
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "PS256": lambda: rsa.generate_private_key(65537, 2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }
        self.key, self.key_id = made[self.algorithm](), key_id
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        public = algorithm.to_jwk(self.key.public_key(), as_dict=True)
        public = {**public, "kid": key_id, "alg": self.algorithm, "use": "sig"}
        kept = [self.public] if keeping_the_last else []
        self.public = public
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"keys": [public, *kept]}))
        os.replace(new, self.file)

    def token(self, subject="ann", **claims):
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": subject, "aud": "orders", "iat": now, "exp": now + 600, **claims}
        return jwt.encode(claims, self.key, self.algorithm, headers={"kid": self.key_id})

    def section(self):
        return f'[issuers.accounts]\nissuer = "{ISSUER}"\naudiences = ["orders"]\nkeys = ["{self.file}"]\n'


def bearing(token):
    return (("authorization", f"Bearer {token}"),)


def reason(refusal):
    info = refusal.detail("ErrorInfo")
    assert info.domain == "mortise"
    return info.reason


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
def test_tokens_of_every_algorithm_say_who_calls(start, tmp_path, algorithm):
    issuer = Issuer(tmp_path, algorithm)
    shop = Client(start(STRICT, sections=issuer.section()).channel)
    ann, bob = bearing(issuer.token("ann")), bearing(issuer.token("bob"))
    order = shop.CreateOrder(an_order(), metadata=ann)
    request = pb.GetOrderRequest(id=order.order_id)
    assert shop.GetOrder(request, metadata=ann).order_id == order.order_id
    refused(shop.GetOrder, request, StatusCode.PERMISSION_DENIED, metadata=bob)


def test_shared_secrets(start, tmp_path):
    secret = os.urandom(48).hex()
    (tmp_path / "secret").write_text(secret + "\n")
    sections = (
        f'[issuers.inside]\nissuer = "{ISSUER}"\naudiences = ["orders"]\n'
        f'secret_file = "{tmp_path / "secret"}"\n'
    )
    shop = Client(start(STRICT, sections=sections).channel)
    claims = {"iss": ISSUER, "sub": "batch", "aud": ["orders"], "exp": int(time.time()) + 60}
    shop.CreateOrder(an_order(), metadata=bearing(jwt.encode(claims, secret, "HS256")))
    for forged in [jwt.encode(claims, secret + "x", "HS256"), jwt.encode(claims, None, "none")]:
        refusal = refused(
            shop.CreateOrder, an_order(), StatusCode.UNAUTHENTICATED, metadata=bearing(forged)
        )
        assert reason(refusal) == "TOKEN_INVALID"


def test_refusals_have_reasons(start, tmp_path):
    issuer = Issuer(tmp_path, "ES256")
    methods = '[methods."order.v1.OrderService/CreateOrder"]\nrequired_scopes = ["orders.write"]\n'
    shop = Client(start(STRICT, sections=issuer.section() + methods).channel)
    now = int(time.time())
    for metadata, expected in [
        ((), "TOKEN_MISSING"),
        (bearing("rubbish"), "TOKEN_INVALID"),
        (bearing(issuer.token(aud="others")), "TOKEN_INVALID"),
        (bearing(issuer.token(iss="https://others.test")), "TOKEN_INVALID"),
        (bearing(issuer.token(exp=now - 3600)), "TOKEN_EXPIRED"),
        (bearing(issuer.token(nbf=now + 3600)), "TOKEN_NOT_YET_VALID"),
    ]:
        refusal = refused(shop.CreateOrder, an_order(), StatusCode.UNAUTHENTICATED, metadata=metadata)
        assert reason(refusal) == expected
        assert dict(refusal.trailing)["www-authenticate"].startswith("Bearer")
    for scope in [{}, {"scope": "orders.read"}]:
        refusal = refused(
            shop.CreateOrder,
            an_order(),
            StatusCode.PERMISSION_DENIED,
            metadata=bearing(issuer.token(**scope)),
        )
        assert reason(refusal) == "SCOPE_MISSING"
    shop.CreateOrder(an_order(), metadata=bearing(issuer.token(scope="orders.read orders.write")))
    shop.CreateOrder(an_order(), metadata=bearing(issuer.token(scp=["orders.write"])))


def test_keys_are_renewed_while_the_host_serves(start, tmp_path):
    issuer = Issuer(tmp_path, "EdDSA")
    host = start(STRICT, sections=issuer.section())
    shop = Client(host.channel)
    old = bearing(issuer.token())
    shop.CreateOrder(an_order(), metadata=old)

    issuer.file.write_text("not keys")
    _until(lambda: "keys not read again" in host.log_text())
    shop.CreateOrder(an_order(), metadata=old)

    issuer.renew("2027")
    new = bearing(issuer.token())
    _until(lambda: _code(shop, new) == StatusCode.OK)
    assert _code(shop, old) == StatusCode.UNAUTHENTICATED


def test_call_credentials_over_tls(start, tmp_path):
    issuer, authority = Issuer(tmp_path, "ES256"), Authority("the host's")
    tls = grpc.ssl_channel_credentials(authority.pem)
    server = write_host_files(tmp_path / "tls", authority)
    host = start(STRICT, server=server, sections=issuer.section(), credentials=tls)
    credentials = grpc.access_token_call_credentials(issuer.token())
    with host.secure_channel(grpc.composite_channel_credentials(tls, credentials)) as channel:
        shop = Client(channel)
        order = shop.CreateOrder(an_order())
        assert shop.GetOrder(pb.GetOrderRequest(id=order.order_id)).order_id == order.order_id
    refusal = refused(Client(host.channel).CreateOrder, an_order(), StatusCode.UNAUTHENTICATED)
    assert reason(refusal) == "TOKEN_MISSING"


def test_certificates_say_who_calls(start, tmp_path):
    authority, clients = Authority("the host's"), Authority("the clients'")
    server = write_host_files(tmp_path / "tls", authority)
    (tmp_path / "clients.pem").write_bytes(clients.pem)
    server["tls_client_ca"] = str(tmp_path / "clients.pem")

    def showing(*names, issued_by=clients):
        key, certificate = issued_by.issue("client", *names)
        return grpc.ssl_channel_credentials(authority.pem, key, certificate)

    cart = x509.UniformResourceIdentifier("spiffe://shop.test/cart")
    host = start(STRICT, server=server, credentials=showing(cart))
    shop = Client(host.channel)
    order = shop.CreateOrder(an_order())
    request = pb.GetOrderRequest(id=order.order_id)
    # A new certificate of the same client is the same client; the metadata has no say.
    with host.secure_channel(showing(cart, x509.DNSName("other.test"))) as channel:
        assert Client(channel).GetOrder(request).order_id == order.order_id
    for names in [(), (x509.DNSName("cart"),), (x509.UniformResourceIdentifier("spiffe://shop.test/c"),)]:
        with host.secure_channel(showing(*names)) as channel:
            refused(Client(channel).GetOrder, request, StatusCode.PERMISSION_DENIED)
    for stranger in [showing(cart, issued_by=Authority("nobody's")), grpc.ssl_channel_credentials(authority.pem)]:
        with host.secure_channel(stranger) as channel:
            refused(Client(channel).GetOrder, request, StatusCode.UNAVAILABLE)


def test_a_certificate_may_take_the_place_of_a_token(start, tmp_path):
    issuer = Issuer(tmp_path, "ES256")
    authority = Authority("everybody's")
    server = write_host_files(tmp_path / "tls", authority)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server["tls_client_ca"] = str(tmp_path / "ca.pem")
    key, certificate = authority.issue("batch")
    credentials = grpc.ssl_channel_credentials(authority.pem, key, certificate)
    sections = issuer.section() + "[auth]\ncertificate_suffices = true\n"
    host = start(STRICT, server=server, sections=sections, credentials=credentials)
    shop = Client(host.channel)
    order = shop.CreateOrder(an_order())
    request = pb.GetOrderRequest(id=order.order_id)
    shop.GetOrder(request)
    token = bearing(issuer.token())
    refused(shop.GetOrder, request, StatusCode.PERMISSION_DENIED, metadata=token)
    refused(shop.GetOrder, request, StatusCode.UNAUTHENTICATED, metadata=bearing("x"))


def _code(shop, metadata):
    try:
        shop.CreateOrder(an_order(), metadata=metadata)
    except grpc.RpcError as error:
        return error.code()
    return StatusCode.OK


def _until(done):
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
