"""${message}."""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Expand: the previous release must run on the result."""


def downgrade() -> None:
    """Undo."""
