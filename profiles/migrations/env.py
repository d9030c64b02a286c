"""Alembic's entry: runs the revisions on the connection that the opener passes in, inside its transaction.

So a half-made schema is never seen: all steps are stored or none, and a second process waits for the first.
"""

from alembic import context

from profiles.tables import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
