"""An API that is older than keygate: it stores events with FastAPI and asyncpg, and looks keys up itself.

DATABASE_URL is its database, with the tables of schema.sql. With TRUST_EDGE=1 it believes X-Org-Id instead of looking the
key up, which is all that changes in such an API once keygate is in front of it.
"""

import hashlib
import hmac
import json
import os
import uuid
from datetime import datetime, timezone
from typing import Optional

import asyncpg
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel

app = FastAPI(title="An API that is older than keygate")
trust_edge = os.environ.get("TRUST_EDGE") == "1"


@app.on_event("startup")
async def connect():
    app.state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=10)


@app.on_event("shutdown")
async def disconnect():
    await app.state.pool.close()


async def organization(
    x_api_key: Optional[str] = Header(None), x_org_id: Optional[str] = Header(None)
) -> uuid.UUID:
    if trust_edge:
        return uuid.UUID(x_org_id)
    if x_api_key is None:
        raise HTTPException(401, "no key")
    found = await app.state.pool.fetchrow(
        "select id, api_key_hash from organizations where api_key_prefix = $1 and active", x_api_key[:17]
    )
    presented = hashlib.sha256(x_api_key.encode()).digest()
    if found is None or not hmac.compare_digest(presented, found["api_key_hash"]):
        raise HTTPException(401, "wrong key")
    return found["id"]


class Event(BaseModel):
    type: str
    dedup_id: Optional[str] = None
    payload: dict


@app.post("/v1/events", status_code=201)
async def create(event: Event, org: uuid.UUID = Depends(organization)):
    event_id, now = uuid.uuid4(), datetime.now(timezone.utc)
    async with app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "insert into events (id, org_id, type, dedup_id, payload, created_at) values ($1, $2, $3, $4, $5, $6)",
            event_id, org, event.type, event.dedup_id, json.dumps(event.payload), now,
        )
        await connection.execute(
            "insert into event_deliveries (id, event_id) values ($1, $2)", uuid.uuid4(), event_id
        )
    return {"id": str(event_id), "status": "accepted", "created_at": now.isoformat()}


@app.get("/v1/inbox")
async def inbox(org: uuid.UUID = Depends(organization)):
    found = await app.state.pool.fetch("select id, type from events where org_id = $1 order by created_at", org)
    return {"organization": str(org), "events": [{"id": str(row["id"]), "type": row["type"]} for row in found]}


@app.get("/healthz")
async def health():
    return {"ok": True}
