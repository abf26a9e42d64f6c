"""Who is asking: bearer tokens (HS256), and for whom a backend may ask."""

from dataclasses import dataclass

import jwt

from serving.problems import ServiceProblem

ISSUER = AUDIENCE = "bondhu"
LEEWAY_SECONDS = 30
USER_HEADER = "x-bondhu-user"
LONGEST_USER_ID = 128


@dataclass(frozen=True)
class Caller:
    """An authenticated caller, and the listener that the call is about."""

    user_id: str
    is_admin: bool


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
    >>> token = issue_token("s" * 32, "ada", now=4_000_000_000)
    >>> Authenticator("s" * 32).authenticate(f"Bearer {token}", None).user_id
    'ada'
    """
    claims = {"sub": user_id, "iss": ISSUER, "aud": AUDIENCE, "exp": now + hours * 3600}
    return jwt.encode(claims | ({"role": "admin"} if admin else {}), secret, algorithm="HS256")


class Authenticator:
    """Checks tokens against one secret: algorithm, issuer, audience and expiry are all pinned."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def authenticate(self, authorization: str | None, acting_for: str | None) -> Caller:
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
            401 without a valid token, 403 for acting without the role.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthorized("send the header Authorization: Bearer TOKEN")
        try:
            claims = jwt.decode(
                token.strip(),
                self._secret,
                algorithms=["HS256"],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_SECONDS,
                options={"require": ["sub", "aud", "exp", "iss"]},
            )
        except jwt.InvalidTokenError as error:
            raise _unauthorized(
                f"the token is not valid ({error}): make one with 'bondhu token --user U'"
            ) from None
        app_metadata = claims.get("app_metadata")
        # Supabase's own top-level role is 'authenticated': both places count.
        roles = {claims.get("role")}
        if isinstance(app_metadata, dict):
            roles.add(app_metadata.get("role"))
        user_id = claims["sub"]
        if acting_for is not None:
            if "service" not in roles:
                raise ServiceProblem(403, "only a token with role service may send X-Bondhu-User")
            user_id = acting_for
        if not 1 <= len(user_id) <= LONGEST_USER_ID or "\0" in user_id:
            raise _unauthorized("a listener's id has 1 to 128 characters")
        return Caller(user_id=user_id, is_admin="admin" in roles)


def _unauthorized(detail: str) -> ServiceProblem:
    return ServiceProblem(401, detail, {"WWW-Authenticate": "Bearer"})
