"""Who may do what: both kinds of tokens, against a stand-in for Supabase's key set."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from serving_world import SECRET, opened

from features.settings import Settings
from serving.auth import Authenticator
from serving.problems import ServiceProblem

pytestmark = pytest.mark.anyio


class In(int):
    """So many seconds from now, worked out when a token is made: a suite may take long."""


class KeySet:
    """A server that hands out public keys as Supabase does; its keys can be changed."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                assert self.path == "/auth/v1/.well-known/jwks.json"
                content = json.dumps({"keys": [outer._public(k) for k in outer.keys]}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _public(self, kid: str) -> dict[str, Any]:
        key = self.keys[kid]
        is_rsa = isinstance(key, rsa.RSAPrivateKey)
        algorithm = jwt.algorithms.RSAAlgorithm if is_rsa else jwt.algorithms.ECAlgorithm
        said: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
        return said | {"kid": kid, "alg": "RS256" if is_rsa else "ES256", "use": "sig"}

    def token(self, kid: str, **claims: Any) -> str:
        usual = {
            "sub": "ada",
            "iss": f"{self.url}/auth/v1",
            "aud": "authenticated",
            "exp": int(time.time()) + 600,
            "role": "authenticated",
        }
        key = self.keys[kid]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        said = {
            k: int(time.time()) + v if isinstance(v, In) else v
            for k, v in (usual | claims).items()
            if v is not None
        }
        return jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid})

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def provider() -> Iterator[KeySet]:
    keys = KeySet()
    keys.keys["one"] = ec.generate_private_key(ec.SECP256R1())
    yield keys
    keys.stop()


async def status(authenticator: Authenticator, token: str, acting_for: str | None = None) -> int:
    try:
        await authenticator.authenticate(f"Bearer {token}", acting_for)
    except ServiceProblem as problem:
        return problem.status
    return 200


def own(**claims: Any) -> str:
    usual = {"sub": "ada", "iss": "bondhu", "aud": "bondhu", "exp": int(time.time()) + 600}
    said = {
        k: int(time.time()) + v if isinstance(v, In) else v
        for k, v in (usual | claims).items()
        if v is not None
    }
    return jwt.encode(said, SECRET, algorithm="HS256")


async def test_a_provider_s_tokens_are_checked_by_its_keys(provider: KeySet) -> None:
    authenticator = Authenticator(None, provider.url + "/")
    assert await status(authenticator, provider.token("one")) == 200
    assert await status(authenticator, provider.token("one", sub="bob")) == 200
    assert provider.asked == 1
    assert await status(authenticator, own()) == 401  # no secret: not its issuer
    provider.keys["two"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    stranger = ec.generate_private_key(ec.SECP256R1())
    forged = jwt.encode(
        {
            "sub": "ada",
            "iss": f"{provider.url}/auth/v1",
            "aud": "authenticated",
            "exp": int(time.time()) + 600,
        },
        stranger,
        algorithm="ES256",
        headers={"kid": "one"},
    )
    assert await status(authenticator, forged) == 401


async def test_new_keys_are_found_and_old_ones_outlive_an_outage(provider: KeySet) -> None:
    authenticator = Authenticator(None, provider.url)
    assert authenticator._jwks is not None
    moment = [0.0]
    authenticator._jwks._now = lambda: moment[0]
    assert await status(authenticator, provider.token("one")) == 200
    provider.keys["two"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert await status(authenticator, provider.token("two")) == 401  # asked a moment ago
    moment[0] = 11.0
    assert await status(authenticator, provider.token("two")) == 200
    for _ in range(5):
        invented = jwt.encode({"iss": f"{provider.url}/auth/v1"}, SECRET, headers={"kid": "x"})
        assert await status(authenticator, invented) == 401
    assert provider.asked == 2
    token = provider.token("one", sub="later")
    provider.stop()
    moment[0] = 1000.0
    assert await status(authenticator, token) == 200


async def test_without_any_key_it_is_503() -> None:
    keys = KeySet()
    keys.keys["one"] = ec.generate_private_key(ec.SECP256R1())
    token = keys.token("one")
    keys.stop()
    assert await status(Authenticator(None, keys.url), token) == 503


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, 200),
        ({"exp": In(-20)}, 200),  # within the skew of clocks
        ({"exp": In(-60)}, 401),
        ({"exp": None}, 401),
        ({"aud": "authenticated"}, 401),
        ({"aud": None}, 401),
        ({"iss": "somebody"}, 401),
        ({"nbf": In(20)}, 200),
        ({"nbf": In(600)}, 401),
        ({"sub": ""}, 401),
        ({"sub": "x" * 129}, 401),
        ({"sub": 7}, 401),
        ({"sub": "a\0b"}, 401),
        ({"sub": "\ud800"}, 401),
    ],
)
async def test_every_claim_is_pinned(claims: dict[str, Any], expected: int) -> None:
    assert await status(Authenticator(SECRET), own(**claims)) == expected


def signed_by_hand(claims: dict[str, Any], secret: bytes, algorithm: str = "HS256") -> str:
    """Sign as an attacker would: no library lets a public key be a secret."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    header = {"alg": algorithm, "typ": "JWT", "kid": "one"}
    said = ".".join(part(json.dumps(value).encode()) for value in (header, claims))
    return f"{said}.{part(hmac.digest(secret, said.encode(), 'sha256'))}"


async def test_a_public_key_never_passes_for_a_secret(provider: KeySet) -> None:
    public = json.dumps(provider._public("one"))
    both = Authenticator(SECRET, provider.url)
    claims = {"sub": "ada", "iss": f"{provider.url}/auth/v1", "aud": "authenticated"}
    confused = signed_by_hand(claims | {"exp": int(time.time()) + 600}, public.encode())
    assert await status(both, confused) == 401
    own_claims = {"sub": "ada", "iss": "bondhu", "aud": "bondhu", "exp": int(time.time()) + 600}
    unsigned = signed_by_hand(own_claims, b"", algorithm="none").rpartition(".")[0] + "."
    assert await status(both, unsigned) == 401
    wrong_key = jwt.encode(
        {"sub": "ada", "iss": "bondhu", "aud": "bondhu", "exp": int(time.time()) + 600}, "y" * 40
    )
    assert await status(both, wrong_key) == 401
    assert await status(both, own()) == 200
    assert await status(both, provider.token("one")) == 200


async def test_a_remembered_token_is_checked_again_once_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = time.time()
    moment, checked = [start], []
    authenticator = Authenticator(SECRET, now=lambda: moment[0])
    claims = authenticator._claims

    async def counted(token: str) -> dict[str, Any]:
        checked.append(token)
        return await claims(token)

    monkeypatch.setattr(authenticator, "_claims", counted)
    token = own()
    assert [await status(authenticator, token) for _ in range(3)] == [200] * 3
    assert len(checked) == 1
    moment[0] = start + 600 + 31
    await status(authenticator, token)
    assert len(checked) == 2


async def test_roles(settings: Settings, world: sa.Engine) -> None:
    authenticator = Authenticator(SECRET)
    admin = await authenticator.authenticate(f"Bearer {own(app_metadata={'role': 'admin'})}", None)
    assert admin.is_admin
    not_admin = await authenticator.authenticate(
        f"Bearer {own(user_metadata={'role': 'admin'})}", None
    )
    assert not not_admin.is_admin
    assert await status(authenticator, own(), "bob") == 403
    acting = await authenticator.authenticate(f"Bearer {own(role='service', sub='shop')}", "bob")
    assert (acting.user_id, acting.acting, acting.is_admin) == ("bob", "shop", False)


async def test_backends_act_and_are_written_down(settings: Settings, world: sa.Engine) -> None:
    bearer = {"Authorization": f"Bearer {own(role='service', sub='shop')}", "X-Bondhu-User": "bob"}
    async with opened(settings) as client:
        for _ in range(3):
            answer = await client.post("/v1/recommend", {}, **bearer)
            assert answer.json()["user_id"] == "bob"
        await client.post("/v1/recommend", {})
        client.application._house_keep()
        await client.post("/v1/recommend", {}, **bearer)
    with world.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT actor, user_id, call, calls FROM acting_audit")
        ).all()
    assert [tuple(row) for row in rows] == [("shop", "bob", "/v1/recommend", 4)]


async def test_both_kinds_over_http(settings: Settings, provider: KeySet) -> None:
    both = settings.model_copy(update={"supabase_url": provider.url})
    bearer = {"Authorization": f"Bearer {provider.token('one', sub='0f3a-supabase')}"}
    async with opened(both) as client:
        answer = await client.post("/v1/recommend", {}, **bearer)
        ours = await client.post("/v1/recommend", {})
    assert answer.json()["user_id"] == "0f3a-supabase"
    assert ours.json()["user_id"] == "ada"


async def test_the_limit_s_headers_come_with_every_answer(settings: Settings) -> None:
    limited = settings.model_copy(update={"user_rate_limit": 5})
    async with opened(limited) as client:
        answers = [
            await client.post(path, body)
            for path, body in (
                ("/v1/recommend", {}),
                ("/v1/recommend", {"genre": "polka"}),
                ("/v1/feedback", {"nonsense": 1}),
                ("/v1/stats", {}),
                ("/v1/me", {}),
                ("/v1/me", {}),
            )
        ]
    assert [answer.status_code for answer in answers] == [200, 422, 422, 403, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == [
        "4",
        "3",
        "2",
        "1",
        "0",
        "0",
    ]
    assert all(answer.headers["X-RateLimit-Limit"] == "5" for answer in answers)
