"""The kind of service that keygate replaces: FastAPI and SQLAlchemy, asynchronous throughout.

MODE=naive asks the database three times a request: for the organisation, to store the event, to store the delivery.
MODE=cached keeps the organisation in Redis for five minutes, and asks it twice.
DATABASE_URL (postgresql+asyncpg://…) has the tables of schema.sql; REDIS_URL is for MODE=cached.
"""

import hashlib
import hmac
import json
import os
import uuid
from datetime import datetime, timezone
from typing import Optional

import redis.asyncio
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import Column, DateTime, Integer, LargeBinary, String, select
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import declarative_base, sessionmaker

CACHED = os.environ["MODE"] == "cached"
KEPT_SECONDS = 300
PREFIX_LENGTH = 17

app = FastAPI()
Table = declarative_base()
engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=30, max_overflow=20)
open_session = sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
cache = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"]) if CACHED else None


class Organization(Table):
    __tablename__ = "organizations"
    id = Column(UUID(as_uuid=True), primary_key=True)
    api_key_prefix = Column(String)
    api_key_hash = Column(LargeBinary)


class Event(Table):
    __tablename__ = "events"
    id = Column(UUID(as_uuid=True), primary_key=True)
    org_id = Column(UUID(as_uuid=True))
    type = Column(String)
    dedup_id = Column(String)
    payload = Column(JSONB)
    created_at = Column(DateTime(timezone=True))


class Delivery(Table):
    __tablename__ = "event_deliveries"
    id = Column(UUID(as_uuid=True), primary_key=True)
    event_id = Column(UUID(as_uuid=True))
    status = Column(String)
    attempts = Column(Integer)


class NewEvent(BaseModel):
    type: str
    dedup_id: Optional[str] = None
    payload: dict


async def session():
    async with open_session() as opened:
        yield opened


async def find(key: str, db: AsyncSession):
    """Returns the organisation's id and the hash of its key, as the cache or the database has them."""
    prefix = key[:PREFIX_LENGTH]
    if CACHED:
        kept = await cache.get("org:prefix:" + prefix)
        if kept:
            record = json.loads(kept)
            return uuid.UUID(record["id"]), bytes.fromhex(record["hash"])
    rows = await db.execute(select(Organization).where(Organization.api_key_prefix == prefix))
    found = rows.scalar_one_or_none()
    if found is None:
        raise HTTPException(401, "unknown key")
    if CACHED:
        record = json.dumps({"id": str(found.id), "hash": found.api_key_hash.hex()})
        await cache.setex("org:prefix:" + prefix, KEPT_SECONDS, record)
    return found.id, found.api_key_hash


async def organization(x_api_key: str = Header(...), db: AsyncSession = Depends(session)) -> uuid.UUID:
    owner, stored = await find(x_api_key, db)
    if not hmac.compare_digest(hashlib.sha256(x_api_key.encode()).digest(), stored):
        raise HTTPException(401, "wrong key")
    return owner


@app.post("/v1/events", status_code=201)
async def create(new: NewEvent, org: uuid.UUID = Depends(organization), db: AsyncSession = Depends(session)):
    event = Event(
        id=uuid.uuid4(), org_id=org, type=new.type, dedup_id=new.dedup_id, payload=new.payload,
        created_at=datetime.now(timezone.utc),
    )
    db.add(event)
    await db.flush()
    db.add(Delivery(id=uuid.uuid4(), event_id=event.id, status="pending", attempts=0))
    await db.commit()
    return {"id": str(event.id), "status": "accepted", "created_at": event.created_at.isoformat()}


@app.get("/healthz")
async def healthy():
    return {"ok": True}
