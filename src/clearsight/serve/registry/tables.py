"""The registry's rows."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Table,
    Text,
)

from clearsight.serve.store.database import METADATA, Schema

OWNER = "registry"

models = Table(
    "registry_models",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("last_version", Integer, nullable=False),  # a number is never given twice
)

versions = Table(
    "registry_versions",
    METADATA,
    Column("model", Text, ForeignKey("registry_models.name"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("signature", Text, nullable=False),  # JSON: task, classes
    Column("bundle_id", Text, nullable=False),
    Column("family", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("added_utc", Text, nullable=False),
    Column("added_by", Text, nullable=False),
)

aliases = Table(
    "registry_aliases",
    METADATA,
    Column("model", Text, primary_key=True),
    Column("alias", Text, primary_key=True),  # production, canary, shadow
    Column("version", Integer, nullable=False),
    Column("share", Float, nullable=False),  # of keys; 1 but for a canary
    ForeignKeyConstraint(
        ["model", "version"], ["registry_versions.model", "registry_versions.version"]
    ),
)

history = Table(
    "registry_history",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at_utc", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("model", Text, nullable=False, index=True),
    Column("version", Integer),
    Column("before", Integer),  # what the alias pointed at
    Column("why", Text, nullable=False),
)

SCHEMA = Schema(OWNER, version=1, tables=(models, versions, aliases, history))
