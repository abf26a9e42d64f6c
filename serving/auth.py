"""Who is asking: bearer tokens, and for whom a backend may ask.

Two kinds of tokens, told apart by their issuer: signed with BONDHU_JWT_SECRET (HS256, audience
bondhu), or by the provider at SUPABASE_URL (its public keys, audience authenticated). Each issuer
pins its algorithms, so that a public key can never pass for a secret.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from serving.jwks import Jwks, KeysUnavailableError
from serving.problems import ServiceProblem, unavailable

ISSUER = AUDIENCE = "bondhu"
SUPABASE_AUDIENCE = "authenticated"
SUPABASE_ALGORITHMS = ("ES256", "RS256", "EdDSA")
LEEWAY_SECONDS = 30
USER_HEADER = b"x-bondhu-user"
LONGEST_USER_ID = 128
LONGEST_TOKEN = 16_384
TOKENS_KEPT = 10_000
REQUIRED = ("sub", "aud", "exp", "iss")


@dataclass(frozen=True)
class Caller:
    """An authenticated caller, and the listener that the call is about.

    Attributes
    ----------
    acting
        Who sent the call, where that is a backend acting for the listener; else None.
    """

    user_id: str
    is_admin: bool
    acting: str | None = None


@dataclass(frozen=True)
class _Holder:
    """What a checked token says.

    Attributes
    ----------
    caller
        Who calls with it, where they act for nobody else.
    """

    caller: Caller
    roles: frozenset[str]
    expires_at: float


def issue_token(
    secret: str, user_id: str, *, now: int, hours: int = 12, admin: bool = False
) -> str:
    """Return a development token for a listener.

    Parameters
    ----------
    now
        Seconds since the epoch.

    Examples
    --------
    >>> import asyncio
    >>> token = issue_token("s" * 32, "ada", now=4_000_000_000)
    >>> asyncio.run(Authenticator("s" * 32).authenticate(f"Bearer {token}", None)).user_id
    'ada'
    """
    claims = {"sub": user_id, "iss": ISSUER, "aud": AUDIENCE, "exp": now + hours * 3600}
    return jwt.encode(claims | ({"role": "admin"} if admin else {}), secret, algorithm="HS256")


def supabase_issuer(url: str) -> str:
    """Return the issuer of a Supabase project's tokens.

    Examples
    --------
    >>> supabase_issuer("https://abc.supabase.co/")
    'https://abc.supabase.co/auth/v1'
    """
    return f"{url.rstrip('/')}/auth/v1"


class Authenticator:
    """Checks tokens: signature, algorithm, issuer, audience and expiry, 30 s of skew allowed.

    What a token said is remembered until it expires: checking a signature again gives the same.

    Parameters
    ----------
    secret
        BONDHU_JWT_SECRET; None: such tokens are refused.
    supabase_url
        SUPABASE_URL; None: such tokens are refused.
    now
        Seconds since the epoch.
    """

    def __init__(
        self,
        secret: str | None,
        supabase_url: str | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._secret = secret
        self._issuer = supabase_issuer(supabase_url) if supabase_url else None
        self._jwks = Jwks(f"{self._issuer}/.well-known/jwks.json") if self._issuer else None
        self._now = now
        self._known: OrderedDict[str, _Holder] = OrderedDict()

    async def authenticate(self, authorization: str | None, acting_for: str | None) -> Caller:
        """Return who calls and for whom.

        Parameters
        ----------
        authorization
            The header's value.
        acting_for
            The header X-Bondhu-User: only a token with role = service may send it.

        Raises
        ------
        ServiceProblem
            401 without a valid token, 403 for acting without the role, 503 while the provider's
            keys cannot be had.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("send the header Authorization: Bearer TOKEN")
        holder = self._known.get(token)
        if holder is None or holder.expires_at + LEEWAY_SECONDS <= self._now():
            holder = await self._check(token)
        if acting_for is None:
            return holder.caller
        if "service" not in holder.roles:
            raise ServiceProblem(403, "only a token with role service may send X-Bondhu-User")
        # A backend acts as the listener: what is the administrator's stays the administrator's.
        user_id = _header(acting_for)
        if not _is_id(user_id):
            raise ServiceProblem(422, "X-Bondhu-User: a listener's id has 1 to 128 characters")
        return Caller(user_id, is_admin=False, acting=holder.caller.user_id)

    async def _check(self, token: str) -> _Holder:
        self._known.pop(token, None)
        if len(token) > LONGEST_TOKEN:
            raise _unauthorized(f"a token may hold {LONGEST_TOKEN} characters at most")
        try:
            claims = await self._claims(token)
        except jwt.PyJWTError as error:
            raise _unauthorized(
                f"the token is not valid ({error}): make one with 'bondhu token --user U'"
            ) from None
        except KeysUnavailableError:
            raise unavailable("the key set that tokens are checked with") from None
        roles = _roles(claims)
        caller = Caller(_id(claims["sub"]), "admin" in roles)
        holder = _Holder(caller, roles, float(claims["exp"]))
        self._known[token] = holder
        if len(self._known) > TOKENS_KEPT:
            self._known.popitem(last=False)
        return holder

    async def _claims(self, token: str) -> dict[str, Any]:
        options: Any = {"require": list(REQUIRED)}
        # Read unchecked only to choose the key; the issuer is checked with it.
        said = jwt.decode(token, options={"verify_signature": False})
        if self._jwks is not None and said.get("iss") == self._issuer:
            kid = jwt.get_unverified_header(token).get("kid")
            key = await self._jwks.key(kid) if isinstance(kid, str) else None
            if key is None:
                raise jwt.InvalidTokenError("its key is not one of the provider's")
            if key.algorithm_name not in SUPABASE_ALGORITHMS:
                raise jwt.InvalidTokenError(f"keys of {key.algorithm_name} are not accepted")
            return jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=SUPABASE_AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options=options,
            )
        if self._secret is None:
            raise jwt.InvalidIssuerError("its issuer is not accepted here")
        return jwt.decode(
            token,
            self._secret,
            algorithms=["HS256"],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            options=options,
        )


def _roles(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the roles that a token gives; user_metadata is the user's own to write."""
    app_metadata = claims.get("app_metadata")
    # Supabase's own top-level role is 'authenticated': both places count.
    said = [claims.get("role")]
    if isinstance(app_metadata, dict):
        said.append(app_metadata.get("role"))
    return frozenset(role for role in said if isinstance(role, str))


def _header(value: str) -> str:
    """Return a header's text: bytes that are UTF-8 arrive as Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        raise ServiceProblem(422, "X-Bondhu-User must be UTF-8") from None


def _id(user_id: str) -> str:
    if not _is_id(user_id):
        raise _unauthorized("a listener's id has 1 to 128 characters")
    return user_id


def _is_id(user_id: str) -> bool:
    # A lone surrogate, which JSON can write, is no text that a database can hold.
    storable = user_id.encode(errors="replace").decode() == user_id
    return 1 <= len(user_id) <= LONGEST_USER_ID and "\0" not in user_id and storable


def _unauthorized(detail: str) -> ServiceProblem:
    return ServiceProblem(401, detail, {"WWW-Authenticate": "Bearer"})
