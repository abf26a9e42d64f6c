"""A real PostgreSQL and a real Redis out of wheels, for whoever has no servers of their own.

`open_servers` lends their addresses to one command and stops them when the last command is out;
`up` and `down` keep them between commands. A given address is used as it is: nothing starts for it.
Both servers listen on Unix sockets only and keep everything under one folder of mode 0700.
`endpoints` counts the users, `server` tells the life that `postgres` and `redis` share, `cluster`
makes the data folder, `rights` lets root run PostgreSQL; the rest are `processes` and `folders`.
"""

from pipelines.servers.endpoints import Endpoints, down, open_servers, up
from pipelines.servers.errors import ServerError
from pipelines.servers.postgres import Postgres
from pipelines.servers.redis import Redis

__all__ = ["Endpoints", "Postgres", "Redis", "ServerError", "down", "open_servers", "up"]
